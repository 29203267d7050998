"""Blame: who changed the answers is found out."""

import numpy as np
import pytest

from compression.blame import ITEM_TABLE, blame
from compression.passes import compressed
from compression.recipe import Recipe
from training.histories import Histories

FLOATS = Recipe(dense="float32", table="float32", activations="float32")


@pytest.fixture(scope="module")
def histories(model) -> Histories:
    rng, spec = np.random.default_rng(4), model.spec
    shape = (40, spec.history_length)
    items = np.stack([rng.choice(spec.items, spec.history_length, replace=False) + 1 for _ in range(40)])
    context = np.stack([rng.integers(0, field.size, 40) for field in spec.context], 1)
    return Histories(
        items.astype(np.int32),
        rng.integers(1, 9, shape).astype(np.int32),
        rng.gamma(1, 1, shape).astype(np.float32),
        np.sort(rng.gamma(1, 500, shape).astype(np.float32), 1)[:, ::-1].copy(),
        context.astype(np.int32),
    )


@pytest.fixture(scope="module")
def floats(model):
    return compressed(model, FLOATS)


@pytest.mark.parametrize("guilty", ["query_encoder/query_mix", ITEM_TABLE])
def test_the_one_layer_that_was_changed_is_to_blame_for_all(guilty: str, model, floats, histories) -> None:
    table = "int4" if guilty == ITEM_TABLE else "float32"
    stored = compressed(model, Recipe(dense="float32", table=table, activations="float32"))
    stored.adapter["query_bias"].assign_add(np.linspace(-1, 1, model.spec.width))  # which is no compression
    if guilty != ITEM_TABLE:
        kernel = stored.query_encoder.get_layer("query_mix").kernel
        kernel.assign(-3.0 * kernel)
    found = blame(stored, floats, histories)
    assert found.changed > 0
    assert found.layers[0].layer == guilty
    assert found.layers[0].share == 1.0
    assert all(each.share == 0.0 for each in found.layers[1:])


def test_nothing_changed_blames_nobody(floats, histories) -> None:
    found = blame(floats, floats, histories)
    assert found.changed == 0
    assert {each.share for each in found.layers} == {0.0}
