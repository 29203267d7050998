"""The search's verb and pictures: limits are refused before anything runs, and every candidate is told of."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from compression.search.choose import choose
from compression.search.limits import Limits
from compression.search.measured import Measured
from contracts.bundle import Estimate
from contracts.errors import RunError
from pocketrec import charts
from pocketrec.cli import run
from pocketrec.recipe_search import Search, front_rows, load_search, save_search


def candidate(name: str, size: int, loss: float) -> Measured:
    near = Estimate(loss, loss - 0.001, loss + 0.001)
    return Measured(
        recipe=name,
        bytes=size,
        download_bytes=size // 2,
        latency_ms=0.2,
        ndcg_at_10=Estimate(0.2, 0.1, 0.3),
        loss=near,
        new_items_loss=near,
        teacher_loss=near,
        teacher_new_items_loss=near,
    )


@pytest.fixture
def search() -> Search:
    found = (
        candidate("dynamic_wi8_afp32", 1_600_000, 0.0),
        candidate("dynamic_wi8_afp32_ti4", 900_000, 0.06),
        candidate("weightonly_wfp32_afp32", 6_400_000, 0.0),
    )
    return Search(
        limits={},
        relative_to={},
        host="x86 host",
        baskets=400,
        candidates=found,
        choice=choose(found, Limits(max_loss=0.01)),
    )


@pytest.mark.parametrize("option", [["--max-bytes", "300"], ["--max-latency", "fast"], ["--max-loss", "2"]])
def test_a_limit_that_cannot_be_parsed_ends_with_2_and_one_line(option, capsys, tmp_path) -> None:
    assert run(["compress", "--project", str(tmp_path / "none.toml"), *option]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert option[0] in said
    assert "write it as" in said


def test_a_search_is_kept_and_read_again(search: Search, tmp_path) -> None:
    save_search(search, tmp_path)
    assert load_search(tmp_path) == search
    with pytest.raises(RunError, match="holds no search"):
        load_search(tmp_path / "elsewhere")


def test_the_front_s_picture_names_what_is_on_it(search: Search) -> None:
    rows = front_rows(search)
    assert [row["kind"] for row in rows] == ["front", "chosen", "other"]
    drawn = charts.standalone(charts.front_chart(rows))
    assert drawn.startswith("<svg ")
    assert "var(" not in drawn
    assert [f">{row['recipe']}<" in drawn for row in rows] == [True, True, False]


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
examples = 300
steps = 4
[compression]
steps = STEPS
"""
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shop(open_shop: Callable[[str], Path]) -> Path:
    return open_shop(PROJECT.replace("STEPS", "6"))


@pytest.mark.usefixtures("few_recipes")
def test_a_search_answers_with_an_artifact_of_the_model_that_was_searched(shop: Path, say: Say) -> None:
    limits = ("--max-bytes", "10MB", "--max-loss", "95%")
    code, out, err = say("compress", *limits, "--trials", "1", "--run", "runs/a", "--json")
    assert code == 0, err
    first = json.loads(out)
    assert first["chosen"]["bytes"] == (shop / first["artifact"]).stat().st_size
    kept = load_search(shop / "runs/a/search")
    trained = [each for each in kept.candidates if each.steps]
    assert len(trained) == 1
    assert first["relative_to"]["max_loss"] == first["relative_to"]["loss"]
    assert first["relative_to"]["loss"].startswith("the float model's NDCG@10 on all items of ")

    code, out, err = say("compress", *limits, "--max-loss-of", "teacher", "--trials", "1", "--run", "runs/a", "--json")
    assert code == 0, err
    assert json.loads(out)["relative_to"]["max_loss"].startswith("the teacher's NDCG@10 on all items of ")

    again = load_search(shop / "runs/a/search")
    assert again.candidates == kept.candidates  # latencies too: nothing was measured anew

    code, _, err = say("compress", "--max-bytes", "1B", "--trials", "0", "--run", "runs/a")
    assert code == 1
    assert "the tightest is --max-bytes 0.0KB" in err

    (shop / "pocketrec.toml").write_text(PROJECT.replace("STEPS", "7"))
    code, out, err = say("compress", *limits, "--trials", "0", "--run", "runs/a", "--json")
    assert code == 0, err
    second = json.loads(out)
    assert Path(second["artifact"]).parent.parent != Path(first["artifact"]).parent.parent
    assert second["chosen"]["bytes"] == (shop / second["artifact"]).stat().st_size

    code, out, err = say("compress", "--blame", "--run", "runs/a", "--json")
    assert code == 0, err
    assert "item table" in json.loads(out)["blame"]


@pytest.mark.parametrize("option", [("--blame",), ("--max-loss", "2%")])
def test_what_cannot_be_searched_is_refused_before_anything_runs(shop: Path, say: Say, option) -> None:
    (shop / "pocketrec.toml").write_text('[privacy]\ntraining = "private"\n')
    code, _, err = say("compress", *option, "--run", "runs/a")
    assert code == 2
    assert "leave them out" in err
    assert not (shop / "runs").exists()


def test_a_private_project_has_no_demo(shop: Path, say: Say) -> None:
    (shop / "pocketrec.toml").write_text('[privacy]\ntraining = "private"\n')
    code, _, err = say("demo", "--project", "pocketrec.toml", "--run", "runs/a")
    assert code == 2
    assert "run pocketrec build" in err
    assert not (shop / "runs").exists()
