"""A model over a grown catalogue answers as before about what it knew, whatever its table is stored as."""

import random

import numpy as np
import pytest

from compression.grown_catalogue import grown_model
from compression.item_table import FrozenTable, store
from contracts.errors import RunError
from training.cold_items import match_items
from training.prepared import Items

NEW = 7


def catalogue(ids: list[str]) -> Items:
    draw = random.Random(2)
    kinds = {item: f"c{draw.randrange(3)}" for item in sorted(ids)}
    column = ["", *(kinds[item] for item in ids)]
    prices = np.array([0, *(100 + len(item) for item in ids)])
    return Items(["", *ids], column, column, column, column, prices, np.zeros(len(ids) + 1, np.int32))


@pytest.mark.parametrize("storage", ["int8", "int4", "float16", "float32"])
def test_known_items_score_as_before_and_new_ones_can_be_recommended(make, storage) -> None:
    spec = make["spec"]()
    model = make["model"](spec)
    model.table = FrozenTable(store(model.table.values.numpy(), storage), "shipped")
    before = [f"i{item}" for item in range(1, spec.items + 1)]
    after = random.Random(1).sample([*before[3:], *(f"new{item}" for item in range(NEW))], spec.items - 3 + NEW)
    known = match_items(["", *before], ["", *after])
    grown = grown_model(model, known, catalogue(after))
    assert grown.spec.items == len(after)
    kept = np.flatnonzero(known)
    old_rows, new_rows = model.table.frozen().values(), grown.table.frozen().values()
    assert (new_rows[kept] == old_rows[known[kept]]).all()
    fresh = np.setdiff1d(np.arange(1, len(known)), kept)
    assert len(fresh) == NEW
    assert np.abs(new_rows[fresh]).max(1).min() > 0

    items = [int(known[at]) for at in kept[:4]]
    feed = make["feed"](items, [9] * 4, [1.0, 2.0, 1.0, 3.0], [5.0, 4.0, 3.0, 2.0], [1, 1, 1], spec.history_length)
    there = make["feed"](
        kept[:4].tolist(), [9] * 4, [1.0, 2.0, 1.0, 3.0], [5.0, 4.0, 3.0, 2.0], [1, 1, 1], spec.history_length
    )
    one, other = model.scores(**feed).numpy(), grown.scores(**there).numpy()
    assert other[kept] == pytest.approx(one[known[kept]], abs=1e-5)
    assert np.isfinite(other[fresh]).all()


def test_a_catalogue_of_strangers_is_refused(make) -> None:
    model = make["model"](make["spec"]())
    items = catalogue([f"other{item}" for item in range(9)])
    with pytest.raises(RunError, match="knows none of the 9 items"):
        grown_model(model, np.zeros(10, np.int64), items)
