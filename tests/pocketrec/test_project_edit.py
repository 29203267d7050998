"""Settings are put into a project file without touching the rest of it, or not at all."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ConfigError
from contracts.project import Project, Teacher
from contracts.project_text import decode_project, project_text
from pocketrec.project_edit import with_values, write_values

VALUES = {"steps": 77, "learning_rate": 0.00123, "dropout": 0.25}

STARTS = {
    "empty": "",
    "no section": '[project]\nname = "shop"  # ours\n',
    "an empty section": "[teacher]\n",
    "some keys": "[teacher]  # the big one\nsteps = 5 # few\n\n[model]\nwidth = 32\n",
    "the last section": "# mine\n[model]\nwidth = 32\n[ teacher ]\n  dropout=0.9\nblocks = 2",
    "a template": project_text(Project()),
    "tables around": '[data]\nsource = "a.csv"\n[teacher]\nexamples = 9\n[data.types]\nbuy = "purchase"\n',
}


@pytest.mark.parametrize("name", STARTS)
def test_the_values_are_set_and_all_else_stays(name: str) -> None:
    before = STARTS[name]
    after = with_values(before, "teacher", VALUES)
    old, new = decode_project(before), decode_project(after)
    changed = {field: VALUES.get(field, getattr(old.teacher, field)) for field in Teacher.__struct_fields__}
    assert new.teacher == Teacher(**changed)
    for field in Project.__struct_fields__:
        assert field == "teacher" or getattr(new, field) == getattr(old, field)
    kept = [line for line in before.splitlines() if line.partition("=")[0].strip() not in VALUES]
    lines = iter(after.splitlines())
    assert all(line in lines for line in kept)  # in their order
    assert with_values(after, "teacher", VALUES) == after


def test_a_comment_behind_a_value_stays() -> None:
    assert "steps = 77 # few\n" in with_values(STARTS["some keys"], "teacher", VALUES)


@given(st.floats(1e-6, 1.0), st.integers(1, 10**6))
def test_every_number_comes_back(rate: float, steps: int) -> None:
    found = decode_project(with_values("", "teacher", {"learning_rate": rate, "steps": steps})).teacher
    assert (found.learning_rate, found.steps) == (rate, steps)


@pytest.mark.parametrize("text", ["teacher = { steps = 5 }\n", "teacher.steps = 5\n", '[teacher]\n"steps" = 5\n'])
def test_what_cannot_be_edited_is_left_as_it_was(tmp_path: Path, text: str) -> None:
    path = tmp_path / "pocketrec.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"cannot be changed.*put the lines under \[teacher\] yourself") as error:
        write_values(path, "teacher", VALUES)
    assert "\n" not in str(error.value)
    assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "pocketrec.toml"
    path.write_text(STARTS["some keys"])
    path.chmod(0o600)
    write_values(path, "teacher", VALUES)
    assert path.read_text() == with_values(STARTS["some keys"], "teacher", VALUES)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
