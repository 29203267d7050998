"""A project whose people seldom take an item twice, by the verbs."""

import json
from pathlib import Path

import polars as pl
import pytest

from compression.checkpoint import load_saved_spec
from pocketrec.cli import run
from training.people_quality import load_people_quality

PROJECT = """
[data]
source = "films.csv"
[data.columns]
person = "person"
item = "item"
time = "time"
[clean]
minimum_people = 2
[split]
test_weeks = 3
validation_weeks = 3
[model]
task = "next_item"
history_length = 16
candidates = 10
width = 16
[fleet]
phones = 2
[next_item]
teacher_width = 16
teacher_blocks = 1
teacher_epochs = 3
blocks = 1
epochs = 2
"""


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Thirty people who go through the same round of twenty films, one a week, as the working directory."""
    rows = [
        {"person": f"p{person}", "item": f"f{(person + week) % 20}", "time": 1_700_000_000 + week * 604_800 + person}
        for person in range(30)
        for week in range(18)
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "films.csv")
    (tmp_path / "pocketrec.toml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_train_and_compress(films: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["compress", "--run", "runs/films", "--json"]) == 0
    json.loads(capsys.readouterr().out)
    spec = load_saved_spec(films / "runs" / "films" / "compress").spec
    assert spec["blocks"] == 1
    assert "teacher" in load_people_quality(films / "runs" / "films" / "train")
    assert not any((films / "runs" / "films" / "checkpoints").glob("*"))


def test_going_on_from_a_run_is_refused(films: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["train", "--run", "runs/films"]) == 0
    capsys.readouterr()
    assert run(["train", "--run", "runs/more", "--from", "runs/films"]) == 2
    assert 'task = "next_basket"' in capsys.readouterr().err


def test_it_cannot_be_private(films: Path, capsys: pytest.CaptureFixture[str]):
    (films / "pocketrec.toml").write_text(PROJECT + '[privacy]\ntraining = "private"\n')
    assert run(["train", "--run", "runs/films"]) == 2
    assert 'training = "none"' in capsys.readouterr().err
