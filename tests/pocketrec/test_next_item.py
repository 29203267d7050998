"""A project whose people seldom take an item twice, by the verbs."""

import json
from pathlib import Path

import polars as pl
import pytest

from compression.checkpoint import load_saved_spec
from pocketrec.cli import run
from pocketrec.recipe_search import load_search
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


@pytest.mark.usefixtures("few_recipes")
def test_train_compress_and_search(films: Path, capsys: pytest.CaptureFixture[str]):
    def say(*arguments: str) -> dict:
        assert run(["compress", "--run", "runs/films", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert "token_encoder/block0_query" in say("--blame")["blame"]
    compressed = films / "runs" / "films" / "compress"
    assert load_saved_spec(compressed).spec["blocks"] == 1
    assert load_saved_spec(compressed).recipe == load_search(compressed).choice.chosen
    assert "teacher" in load_people_quality(films / "runs" / "films" / "train")
    assert not any((films / "runs" / "films" / "checkpoints").glob("*"))

    said = say("--max-bytes", "10MB", "--max-loss", "99%", "--max-loss-of", "teacher", "--trials", "1")
    assert said["chosen"]["bytes"] == (films / said["artifact"]).stat().st_size
    assert said["relative_to"]["max_loss"].startswith("the teacher's NDCG@10 on new items of ")
    found = load_search(films / "runs" / "films" / "search").candidates
    assert [each.steps for each in found if each.steps] in ([1], [4])  # passes, of a candidate that is not promising
    floats = next(each for each in found if each.recipe == "weightonly_wfp32_afp32")
    assert floats.loss == floats.new_items_loss
    assert (floats.loss.value, floats.teacher_loss.value != 0.0) == (0.0, True)


def test_going_on_from_a_run_is_refused(films: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["train", "--run", "runs/films"]) == 0
    capsys.readouterr()
    assert run(["train", "--run", "runs/more", "--from", "runs/films"]) == 2
    assert 'task = "next_basket"' in capsys.readouterr().err


def test_it_cannot_be_private(films: Path, capsys: pytest.CaptureFixture[str]):
    (films / "pocketrec.toml").write_text(PROJECT + '[privacy]\ntraining = "private"\n')
    assert run(["train", "--run", "runs/films"]) == 2
    assert 'training = "none"' in capsys.readouterr().err
