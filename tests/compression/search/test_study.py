"""The exploration: finished trials are reused, proposals follow the seed, and halving spares what is hopeless."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from compression.recipe import Recipe
from compression.search.candidates import untrained
from compression.search.measured import Measured
from compression.search.study import FIRST_SHARE, JOURNAL, explore
from contracts.bundle import Estimate
from contracts.errors import RunError


class Oracle:
    """Figures that follow from the recipe alone, and what was asked."""

    def __init__(self, latency: Callable[[], float] = lambda: 1.0) -> None:
        self.latency = latency
        self.asked: list[tuple[str, float]] = []

    def __call__(self, recipe: Recipe, share: float) -> Measured:
        self.asked.append((recipe.name, share))
        bits = {"int4": 4, "int8": 8, "float16": 16, "float32": 32}
        loss = 0.4 / bits[recipe.table] + 0.1 / bits[recipe.dense] + recipe.pruned / 2000 - 0.05 * share
        return Measured(
            recipe=recipe.name,
            bytes=1000 * bits[recipe.table] + 10 * bits[recipe.dense] * (100 - recipe.pruned),
            download_bytes=bits[recipe.table],
            latency_ms=self.latency(),
            ndcg_at_10=Estimate(0.2, 0.2, 0.2),
            loss=Estimate(loss, loss, loss),
            new_items_loss=Estimate(loss, loss, loss),
            teacher_loss=Estimate(loss, loss, loss),
            teacher_new_items_loss=Estimate(loss, loss, loss),
            steps=round(100 * share),
        )


def run(folder: Path, oracle: Oracle, trials: int = 3, study: str = "model", seed: int = 3) -> list[Measured]:
    return explore(folder, study, untrained(50, few=True), trials, oracle, seed)


def test_cheap_candidates_come_first_and_none_is_measured_twice(tmp_path: Path) -> None:
    oracle = Oracle()
    found = run(tmp_path, oracle)
    cheap = untrained(50, few=True)
    assert [name for name, _ in oracle.asked[: len(cheap)]] == [each.name for each in cheap]
    assert len({one.recipe for one in found}) == len(found) == len(cheap) + 3
    asked = len(oracle.asked)
    assert run(tmp_path, oracle) == found
    assert len(oracle.asked) == asked


def test_what_was_cut_off_goes_on_and_another_study_starts_anew(tmp_path: Path) -> None:
    whole, parts = Oracle(), Oracle()
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    expected = run(tmp_path / "whole", whole, trials=4)
    run(tmp_path / "parts", parts, trials=1)
    assert run(tmp_path / "parts", parts, trials=4) == expected
    assert parts.asked == whole.asked
    run(tmp_path / "parts", parts, trials=0, study="other model")
    assert parts.asked[-1] == (untrained(50, few=True)[-1].name, 0.0)


def test_only_what_is_promising_is_trained_to_the_end(tmp_path: Path) -> None:
    oracle = Oracle()
    found = {one.recipe: one for one in run(tmp_path, oracle, trials=8)}
    trained = [name for name, share in oracle.asked if share == FIRST_SHARE]
    finished = [name for name, share in oracle.asked if share == 1.0]
    assert len(trained) == 8
    assert finished
    assert all(found[name].steps == 100 for name in finished)
    assert all(found[name].steps == 25 for name in trained if name not in finished)


def test_a_noisy_machine_changes_nothing_but_times(tmp_path: Path) -> None:
    noisy, calm = Oracle(random.Random(1).random), Oracle()
    for name, oracle in (("noisy", noisy), ("calm", calm)):
        (tmp_path / name).mkdir()
        run(tmp_path / name, oracle, trials=6)
    assert noisy.asked == calm.asked


def test_half_a_line_is_cut_off_and_a_damaged_journal_named(tmp_path: Path) -> None:
    found = run(tmp_path, Oracle())
    with (tmp_path / JOURNAL).open("ab") as journal:
        journal.write(b'{"op_code": 4, "wor')
    assert run(tmp_path, Oracle()) == found
    (tmp_path / JOURNAL).write_bytes(b"no journal\n")
    with pytest.raises(RunError, match="is damaged"):
        run(tmp_path, Oracle())
