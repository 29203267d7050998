from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.errors import RunError
from tests.training.sequence.test_sequences import make
from training.sequence.fit import Epoch, NextItemRecipe, fit_next_item
from training.sequence.leave_one_out import ranks
from training.sequence.transformer import NextItemTransformer, TransformerShape

SHAPE = TransformerShape(width=16, blocks=1, heads=2, length=8, dropout=0.1)
RECIPE = NextItemRecipe(shape=SHAPE, epochs=20, positions=128, matrix_rate=2e-2, rate=1e-2, warm_up=10, average=0.9)
SAMPLED = replace(RECIPE, sampled_from=9, uniform_draws=2)
ROUND = make([[1 + (first + step) % 9 for step in range(9)] for first in range(9)] * 4)  # 1 to 9 and again


def fitted(seed: int, recipe: NextItemRecipe = RECIPE) -> tuple[NextItemTransformer, list[Epoch]]:
    torch.manual_seed(seed)
    epochs: list[Epoch] = []
    model = NextItemTransformer(SHAPE, ROUND.items)
    found = fit_next_item(model, ROUND.without_last(1), recipe, seed, lambda epoch, _: epochs.append(epoch))
    return found, epochs


@pytest.mark.parametrize("recipe", [RECIPE, SAMPLED], ids=["full", "sampled"])
def test_what_always_follows_is_learned(recipe: NextItemRecipe):
    model, epochs = fitted(1, recipe)
    assert epochs[-1].loss < epochs[0].loss / 2
    assert [epoch.positions for epoch in epochs] == [36 * 7] * RECIPE.epochs
    assert (ranks(model.scores, ROUND, 1, SHAPE.length) == 0).mean() > 0.9


def test_the_seed_decides():
    first, second, other = fitted(1)[0], fitted(1)[0], fitted(2)[0]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not np.array_equal(first.bias.detach().numpy(), other.bias.detach().numpy())


class Killed(Exception):
    pass


def test_killed_it_goes_on_to_the_same_weights(tmp_path: Path):
    whole, _ = fitted(1)
    seen = []

    def kill(epoch: Epoch, model: NextItemTransformer) -> None:
        seen.append(epoch.number)
        if epoch.number == 11:
            raise Killed

    def begin(after_epoch) -> NextItemTransformer:
        torch.manual_seed(1)
        model = NextItemTransformer(SHAPE, ROUND.items)
        return fit_next_item(model, ROUND.without_last(1), RECIPE, 1, after_epoch, tmp_path / "teacher.checkpoint")

    with pytest.raises(Killed):
        begin(kill)
    found = begin(lambda epoch, model: seen.append(epoch.number))
    assert seen == list(range(1, RECIPE.epochs + 1))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), found.parameters(), strict=True))


def test_a_damaged_checkpoint_is_named(tmp_path: Path):
    (tmp_path / "teacher.checkpoint").write_bytes(b"PK")
    torch.manual_seed(1)
    model = NextItemTransformer(SHAPE, ROUND.items)
    with pytest.raises(RunError, match="is a damaged checkpoint"):
        fit_next_item(model, ROUND, RECIPE, 1, lambda *_: None, tmp_path / "teacher.checkpoint")


def test_a_catalogue_below_the_bound_is_learned_in_full():
    full, below, at = (fitted(1, replace(SAMPLED, sampled_from=items))[0] for items in (100, 10, 9))
    assert full.bias.equal(below.bias)
    assert not full.bias.equal(at.bias)
