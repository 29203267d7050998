"""The project file: one definition, from which decoding, errors and the commented template follow."""

import math
import tomllib
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from contracts.errors import ConfigError
from contracts.events import EventType
from contracts.project import Clean, Columns, Data, Identification, Learning, Project
from contracts.project_text import decode_project, project_text


def fields(
    struct: type | inspect.Type = Project, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], inspect.Field]]:
    """Every key of every section, with its path."""
    info = struct if isinstance(struct, inspect.StructType) else inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        if isinstance(field.type, inspect.StructType):
            yield from fields(field.type, (*path, field.name))
        else:
            yield (*path, field.name), field


FIELDS = list(fields())
NUMBERS = [
    (path, field.type.type)
    for path, field in FIELDS
    if isinstance(field.type.type, inspect.IntType | inspect.FloatType)
]


def one_line(error: pytest.ExceptionInfo[ConfigError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def toml(path: tuple[str, ...], value: str) -> str:
    return f"[{'.'.join(path[:-1])}]\n{path[-1]} = {value}\n"


def test_the_template_holds_the_defaults() -> None:
    assert decode_project(project_text(Project())) == Project()
    assert decode_project("") == Project()


@pytest.mark.parametrize(("path", "field"), FIELDS, ids=[".".join(path) for path, _ in FIELDS])
def test_every_key_stands_in_the_template_below_its_comment(path: tuple[str, ...], field: inspect.Field) -> None:
    assert isinstance(field.type, inspect.Metadata), "a field needs Meta(description=...)"
    description = (field.type.extra_json_schema or {})["description"]
    header = f"[{'.'.join(path[:-1])}]"
    lines = project_text(Project()).split(f"\n{header}\n")[1].split("\n\n")[0].splitlines()
    place = next(at for at, line in enumerate(lines) if line.removeprefix("# ").startswith(f"{path[-1]} ="))
    comment = ""
    while place and lines[place - 1].startswith("# ") and not lines[place - 1].endswith(" ="):
        place -= 1
        comment = f"{lines[place].removeprefix('# ')} {comment}"
    assert comment.startswith(description)


def test_every_section_has_its_comment() -> None:
    lines = project_text(Project()).splitlines()
    for at, line in enumerate(lines):
        if line.startswith("["):
            assert lines[at - 1].startswith("# ")


texts = st.text(max_size=20)
columns = st.builds(Columns, **{name: st.none() | texts for name in ("order", "price", "type", "name")}, person=texts)
projects = st.builds(
    Project,
    project=st.builds(Identification, name=st.from_regex("[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)),
    data=st.builds(
        Data, source=st.text(min_size=1), types=st.dictionaries(texts, st.sampled_from(EventType)), columns=columns
    ),
    clean=st.builds(Clean, minimum_price=st.floats(0, 1e4), exclude_items=st.lists(texts).map(tuple)),
    learning=st.builds(
        Learning,
        targets=st.lists(st.sampled_from([EventType.VIEW, EventType.PURCHASE]), min_size=1, unique=True).map(tuple),
        weights=st.dictionaries(st.sampled_from([EventType.VIEW, EventType.ADD_TO_CART]), st.floats(0.01, 1)),
    ),
)


@given(projects)
def test_any_settings_survive_the_file(project: Project) -> None:
    text = project_text(project)
    assert tomllib.loads(text)
    assert decode_project(text) == project


@pytest.mark.parametrize("path", [path for path, _ in FIELDS if len(path[-1]) > 3], ids=".".join)
def test_a_misspelt_key_is_refused_with_the_nearest_one(path: tuple[str, ...]) -> None:
    misspelt = path[-1][0] + path[-1][2] + path[-1][1] + path[-1][3:] + "x"
    with pytest.raises(ConfigError) as error:
        decode_project(toml((*path[:-1], misspelt), "1"))
    assert f"did you mean {path[-1]!r}?" in one_line(error)


def test_an_unknown_section_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError) as error:
        decode_project("[modle]\nwidth = 64\n")
    assert "no section 'modle': did you mean 'model'?" in one_line(error)


@pytest.mark.parametrize(("path", "type"), NUMBERS, ids=[".".join(path) for path, _ in NUMBERS])
def test_numbers_out_of_range_are_refused_with_the_range(path: tuple[str, ...], type: inspect.IntType) -> None:
    lower = type.ge if type.ge is not None else type.gt
    upper = type.le if type.le is not None else type.lt
    assert lower is not None, "a number needs a range"
    assert upper is not None, "a number needs a range"
    wrong = [
        lower - 1,
        upper + 1,
        '"text"',
        "true",
        *(["nan", "inf"] if isinstance(type, inspect.FloatType) else [1.5]),
    ]
    for value in wrong:
        with pytest.raises(ConfigError) as error:
            decode_project(toml(path, str(value)))
        message = one_line(error)
        assert message.startswith(f"[{'.'.join(path[:-1])}] {path[-1]} = ")
        assert f"{lower:.12g}" in message
        assert f"{upper:.12g}" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed 7", "no valid TOML"),
        ("model = 3", "[model] = 3: allowed is a table"),
        ("[next_item]\nhidden = 50", "[next_item] hidden = 50: allowed is an integer from 0 to 512, a multiple of 4"),
        ('[data]\ntime_unit = "minutes"', 'allowed is one of "auto", "ms", "ns", "s", "us"'),
        ('[data]\ntypes = { buy = "purchas" }', '"purchase"'),
        ("[clean]\nminimum_price = 2.0\nmaximum_price = 1.0", "minimum_price = 2.0 is above maximum_price = 1.0"),
        ('[project]\ncurrency = "usd"', "^[A-Z]{3}$"),
        ("[clean]\nexclude_items = [1]", "allowed is a list, each text"),
        ('[learning]\ntargets = ["buy"]', 'allowed is a list, each one of "impression"'),
        ("[learning]\ntargets = []", "[learning] targets = []"),
        ('[learning]\ntargets = ["impression"]', "[learning] 'impression' is no sign of interest"),
        ("[learning]\nweights = { refund = 1 }", "[learning] 'refund' is no sign of interest"),
        ("[learning]\nweights = { view = 2 }", "from 0 to 1"),
        ('[learning]\ntargets = ["view"]\nweights = { view = 0 }', "'view' is a target and has weight 0"),
        ('[data]\ndevices = { ios = "fone" }', '"phone"'),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        decode_project(text)
    assert expected in one_line(error)


def test_an_event_weighs_as_in_a_history_unless_it_is_said() -> None:
    learning = Learning(weights={EventType.VIEW: 0.5})
    assert [learning.weight(kind) for kind in (EventType.VIEW, EventType.ADD_TO_CART, EventType.PURCHASE)] == [
        0.5,
        0.25,
        1.0,
    ]


def test_settings_cannot_be_changed_by_accident() -> None:
    with pytest.raises(AttributeError):
        Project().model.width = 3  # type: ignore[misc]
    assert math.isclose(msgspec.structs.replace(Project().clean, maximum_price=9.0).maximum_price, 9.0)


def test_phones_need_weeks_to_live_through() -> None:
    with pytest.raises(ConfigError) as error:
        decode_project('[split]\nprotocol = "leave_one_out"\n')
    assert "set phones = 0 under [fleet]" in one_line(error)
    assert decode_project('[split]\nprotocol = "leave_one_out"\n[fleet]\nphones = 0\n').fleet.phones == 0
    assert decode_project('[split]\nprotocol = "global_time"\n').fleet.phones


def test_a_protocol_is_one_of_three() -> None:
    with pytest.raises(ConfigError) as error:
        decode_project('[split]\nprotocol = "random"\n')
    assert 'allowed is one of "global_time", "leave_one_out", "next_basket"' in one_line(error)
