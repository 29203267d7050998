import numpy as np
import torch

from tests.training.sequence.test_sequences import make
from training.sequence.fit import Epoch, NextItemRecipe, fit_next_item
from training.sequence.leave_one_out import ranks
from training.sequence.transformer import NextItemTransformer, TransformerShape

SHAPE = TransformerShape(width=16, blocks=1, heads=2, length=8, dropout=0.1)
RECIPE = NextItemRecipe(shape=SHAPE, epochs=30, positions=128, rate=1e-2, warm_up=10, average=0.9)
ROUND = make([[1 + (first + step) % 9 for step in range(9)] for first in range(9)] * 4)  # 1 to 9 and again


def fitted(seed: int) -> tuple[NextItemTransformer, list[Epoch]]:
    torch.manual_seed(seed)
    epochs: list[Epoch] = []
    model = NextItemTransformer(SHAPE, ROUND.items)
    found = fit_next_item(model, ROUND.without_last(1), RECIPE, seed, lambda epoch, _: epochs.append(epoch))
    return found, epochs


def test_what_always_follows_is_learned():
    model, epochs = fitted(1)
    assert epochs[-1].loss < epochs[0].loss / 2
    assert [epoch.positions for epoch in epochs] == [36 * 7] * RECIPE.epochs
    assert (ranks(model.scores, ROUND, 1, SHAPE.length) == 0).mean() > 0.9


def test_the_seed_decides():
    first, second, other = fitted(1)[0], fitted(1)[0], fitted(2)[0]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not np.array_equal(first.bias.detach().numpy(), other.bias.detach().numpy())
