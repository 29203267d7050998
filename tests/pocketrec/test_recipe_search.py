"""The search's verb and pictures: limits are refused before anything runs, and every candidate is told of."""

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
    )


@pytest.fixture
def search() -> Search:
    found = (
        candidate("dynamic_wi8_afp32", 1_600_000, 0.0),
        candidate("dynamic_wi8_afp32_ti4", 900_000, 0.06),
        candidate("weightonly_wfp32_afp32", 6_400_000, 0.0),
    )
    return Search(
        limits={}, host="x86 host", baskets=400, candidates=found, choice=choose(found, Limits(max_loss=0.01))
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
