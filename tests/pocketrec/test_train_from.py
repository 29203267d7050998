"""`pocketrec train --from`: a run that goes on from another, and every input that it cannot go on from."""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import pytest

from pocketrec.cli import run

WEEKS, OLD_WEEKS = 30, 26
PROJECT = """
[data]
source = "sales.csv"
[data.columns]
person = "person"
item = "item"
time = "time"
category = "category"
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
steps = 10
continue_steps = 4
"""

Say = Callable[..., tuple[int, str, str]]


def sales(weeks: int, restless: Sequence[int] = ()) -> pl.DataFrame:
    """Thirty people with favourites among sixty items, five of which come in week 14.

    Args:
        weeks: how long the log is.
        restless: weeks in which people take only what they never had.
    """
    draw, rows = random.Random(5), []
    for person in range(30):
        favourites, had = [draw.randrange(55) for _ in range(5)], set()
        for week in range(WEEKS):
            time = 1_700_000_000 + week * 604_800 + draw.randrange(604_800)
            known = range(60 if week >= 14 else 55)
            for _ in range(3):
                item = draw.choice(favourites) if draw.random() < 0.7 else draw.choice(known)
                if week in restless:
                    item = draw.choice([each for each in known if each not in had])
                had.add(item)
                rows.append({"person": f"p{person}", "item": f"s{item}", "time": time, "category": f"c{item % 4}"})
    frame = pl.DataFrame(rows)
    return frame.filter(pl.col("time") < 1_700_000_000 + weeks * 604_800)


def bytes_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of which a shorter log has been trained on in runs/old."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "pocketrec.toml").write_text(PROJECT)
    sales(OLD_WEEKS).write_csv(folder / "sales.csv")
    assert run(["train", "--project", str(folder / "pocketrec.toml"), "--run", str(folder / "runs" / "old")]) == 0
    return folder


@pytest.fixture
def shop(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it whose log has grown, as the working directory."""
    shutil.copytree(old, tmp_path / "shop")
    monkeypatch.chdir(tmp_path / "shop")
    sales(WEEKS).write_csv("sales.csv")
    return tmp_path / "shop"


def test_a_run_goes_on_from_another_and_stays_so(shop: Path, say: Say) -> None:
    before = bytes_of(shop / "runs" / "old")
    code, out, err = say("train", "--from", "runs/old", "--run", "runs/new", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["gate"]["from"] == "runs/old"
    assert told["gate"]["accepted"] is True
    assert told["targets_per_second"] > 0
    assert not told["reused"]
    assert bytes_of(shop / "runs" / "old") == before
    assert not (shop / "runs" / "new" / "checkpoints").exists()
    teacher = (shop / "runs" / "new" / "train" / "teacher.pt").read_bytes()

    shutil.rmtree(shop / "runs" / "old")  # what it went on from is kept in the new run
    again = json.loads(say("train", "--run", "runs/new", "--json")[1])
    assert again["reused"]
    assert again["gate"]["accepted"] is True
    (shop / "pocketrec.toml").write_text(PROJECT.replace("continue_steps = 4", "continue_steps = 5"))
    longer = json.loads(say("train", "--run", "runs/new", "--json")[1])
    assert not longer["reused"]
    assert longer["gate"]["accepted"] is True
    assert (shop / "runs" / "new" / "train" / "teacher.pt").read_bytes() != teacher


def test_an_origin_that_was_damaged_gets_one_line(shop: Path, say: Say) -> None:
    assert say("train", "--from", "runs/old", "--run", "runs/new")[0] == 0
    (shop / "runs" / "new" / "train" / "origin" / "teacher.pt").unlink()
    code, _, err = say("train", "--run", "runs/new")
    assert code == 2
    assert "teacher.pt cannot be read (No such file or directory)" in err.splitlines()[-1]


def test_continue_steps_do_not_matter_to_a_training_from_nothing(shop: Path, say: Say) -> None:
    sales(OLD_WEEKS).write_csv("sales.csv")
    (shop / "pocketrec.toml").write_text(PROJECT.replace("continue_steps = 4", "continue_steps = 5"))
    told = json.loads(say("train", "--run", "runs/old", "--json")[1])
    assert told["reused"]
    assert "gate" not in told


def test_a_worse_teacher_is_refused_by_how_much(shop: Path, say: Say) -> None:
    # The copy head's height is set on the validation weeks: set where nobody buys again, it is wrong where people do.
    sales(WEEKS, restless=range(WEEKS - 6, WEEKS - 3)).write_csv("sales.csv")
    before = bytes_of(shop / "runs" / "old")
    code, out, err = say("train", "--from", "runs/old", "--run", "runs/new", "--json")
    assert code == 1
    error = json.loads(out)["error"]
    assert "is worse than the one it came from: NDCG@10 on all items -" in error
    assert "people of the newest week" in error
    assert err.splitlines()[-1] == f"pocketrec: {error}"
    assert bytes_of(shop / "runs" / "old") == before
    assert {path.name for path in (shop / "runs" / "new").iterdir()} == {"run.json", ".lock", "prepare", "secrets"}


BAD: dict[str, tuple[Callable[[], object], str, str]] = {
    "no run": (lambda: None, "runs/nowhere", "runs/nowhere is no run directory"),
    "another version": (
        lambda: Path("runs/old/run.json").write_text('{"pocketrec_run": 99}'),
        "runs/old",
        "has run format 99",
    ),
    "itself": (lambda: None, "runs/new", "name another with --run"),
    "not trained": (lambda: shutil.rmtree("runs/old/train"), "runs/old", "runs/old has no finished train"),
    "a damaged teacher": (
        lambda: Path("runs/old/train/teacher.pt").write_bytes(b"PK"),
        "runs/old",
        "holds no teacher to go on from",
    ),
    "nothing newer": (lambda: sales(OLD_WEEKS).write_csv("sales.csv"), "runs/old", "holds nothing newer"),
    "another shop": (
        lambda: sales(WEEKS).with_columns(item="x" + pl.col("item")).write_csv("sales.csv"),
        "runs/old",
        "knows none of the",
    ),
    "another shape": (
        lambda: Path("pocketrec.toml").write_text(PROJECT.replace("width = 16", "width = 20")),
        "runs/old",
        "ask for width 18",
    ),
    "a damaged checkpoint": (
        lambda: [
            shutil.copytree("runs/old", "runs/new", ignore=shutil.ignore_patterns("train", "prepare")),
            Path("runs/new/checkpoints").mkdir(),
            Path("runs/new/checkpoints/teacher.pt").write_bytes(b"PK"),
        ],
        "runs/old",
        "is a damaged checkpoint",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_line_and_loses_nothing(shop: Path, say: Say, name: str) -> None:
    spoil, source, expected = BAD[name]
    if name == "itself":
        shutil.copytree("runs/old", "runs/new")
    spoil()
    before = bytes_of(shop / "runs" / "old")
    code, out, err = say("train", "--from", source, "--run", "runs/new", "--json")
    assert code == 2
    last = err.splitlines()[-1]
    assert expected in last, last
    assert json.loads(out) == {"error": last.removeprefix("pocketrec: ")}
    assert bytes_of(shop / "runs" / "old") == before
    assert (shop / "runs" / "new" / "train").exists() == (name == "itself")
