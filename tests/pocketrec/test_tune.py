"""`pocketrec tune`: a search that a project can take its settings from."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.project_text import decode_project

PROJECT = """
[data]
source = "sales.csv"
[clean]
minimum_people = 2
[split]
test_weeks = 3
validation_weeks = 3
[model]
history_length = 8
candidates = 10
width = 16
[fleet]
phones = 2
[teacher]
examples = 400
steps = 4  # few
"""

Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shop(open_shop: Callable[[str], Path]) -> Path:
    return open_shop(PROJECT)


def test_a_search_is_printed_charted_kept_and_written(shop: Path, say: Say) -> None:
    code, out, err = say("tune", "--trials", "2", "--run", "runs/a", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert len(found["trials"]) == 2
    assert (shop / "pocketrec.toml").read_text() == PROJECT
    figures = json.loads((shop / "runs/a/tuning/tuning.json").read_bytes())
    assert figures == {key: found[key] for key in figures}
    chart = (shop / "runs/a/tuning/tuning.html").read_text()
    assert "<svg" in chart
    assert not re.search(r"https?://(?!www\.w3\.org)", chart)  # it stands alone
    assert all(line in chart for line in found["lines"])

    code, out, err = say("tune", "--trials", "3", "--run", "runs/a", "--write")
    assert code == 0, err
    lines = out[out.index("[teacher]") :].split("\n\n")[0].splitlines()[1:]
    again = json.loads((shop / "runs/a/tuning/tuning.json").read_bytes())
    assert again["lines"] == lines
    assert again["trials"][:2] == [
        later | {key: earlier[key] for key in ("why", "on_front")}
        for earlier, later in zip(again["trials"], found["trials"], strict=False)
    ]
    text = (shop / "pocketrec.toml").read_text()
    teacher = decode_project(text).teacher
    chosen = again["trials"][again["chosen"] - 1]["candidate"]
    assert {name: getattr(teacher, name) for name in chosen} == chosen
    assert "  # few" in text
    assert teacher.examples == 400


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--segment", "nobody"], 'there is no segment "nobody": --segment takes "'),
        (["--segment", "SMALL"], "people with baskets in the validation weeks, tuning needs 100"),
        (["--trials", "0"], "--trials 0: a search takes at least 1 trial"),
    ],
)
def test_bad_input_gets_one_line(shop: Path, say: Say, arguments: list[str], expected: str) -> None:
    if arguments[1] == "SMALL":
        _, _, told = say("tune", "--run", "runs/a", "--segment", "nobody")
        arguments = ["--segment", re.findall(r'"([^"]+)" \(\d+ people\)', told)[0]]
    code, out, err = say("tune", "--run", "runs/a", *arguments, "--json")
    assert code == 2
    last = err.splitlines()[-1]
    assert expected in last
    assert json.loads(out) == {"error": last.removeprefix("pocketrec: ")}
    assert not (shop / "runs/a/tuning").exists()


def test_a_damaged_journal_gets_one_line(shop: Path, say: Say) -> None:
    (shop / "runs/a/tuning").mkdir(parents=True)
    (shop / "runs/a/run.json").write_text('{"pocketrec_run":1}')
    (shop / "runs/a/tuning/journal.log").write_text("{\n")
    code, _, err = say("tune", "--run", "runs/a", "--trials", "1")
    assert code == 2
    assert "journal.log is damaged" in err.splitlines()[-1]
    assert (shop / "runs/a/tuning/journal.log").read_text() == "{\n"


@pytest.mark.parametrize("other", ['[model]\ntask = "next_item"\n', '[privacy]\ntraining = "private"\n'])
def test_other_kinds_of_teachers_are_refused(shop: Path, say: Say, other: str) -> None:
    (shop / "pocketrec.toml").write_text(other)
    code, _, err = say("tune", "--trials", "1", "--run", "runs/a")
    assert code == 2
    assert "only a teacher of next baskets without privacy is tuned" in err
    assert not (shop / "runs").exists()
