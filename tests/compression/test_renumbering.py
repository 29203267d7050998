"""Renumbering changes numbers and nothing else."""

import numpy as np

from compression.renumbering import new_numbers, renumbered_labels, renumbered_log
from training.histories import histories_of
from training.soft_labels import SoftLabels


def order_of(items: int, seed: int = 0) -> np.ndarray:
    return np.concatenate([[0], 1 + np.random.default_rng(seed).permutation(items)])


def test_numbers_and_order_undo_each_other() -> None:
    order = order_of(50)
    assert np.array_equal(new_numbers(order)[order], np.arange(51))
    assert np.array_equal(order[new_numbers(order)], np.arange(51))


def test_every_event_is_of_the_same_item_as_before(logs) -> None:
    prepared = logs.prepared(logs.draw(5, people=12, items=30), items=30)
    order = order_of(len(prepared.items.item_id) - 1)
    moved = renumbered_log(prepared, order)
    for name in ("item_id", "category", "brand"):
        before, after = getattr(prepared.items, name), getattr(moved.items, name)
        assert [after[item] for item in moved.events.item] == [before[item] for item in prepared.events.item]
    assert np.array_equal(moved.items.price_minor[moved.events.item], prepared.items.price_minor[prepared.events.item])
    assert moved.items.item_id[0] == prepared.items.item_id[0]


def test_histories_hold_the_same_items_under_their_new_numbers(logs) -> None:
    prepared = logs.prepared(logs.draw(5, people=12, items=30), items=30)
    order = order_of(len(prepared.items.item_id) - 1)
    baskets = np.arange(20)
    context = np.zeros((20, 1), np.int32)
    before = histories_of(prepared, baskets, 8, context)
    after = histories_of(renumbered_log(prepared, order), baskets, 8, context)
    same = np.sort(order[after.items], axis=1) == np.sort(before.items, axis=1)
    assert same.mean() > 0.95  # which of two that tie at the history's end is kept follows their numbers


def test_labels_name_the_same_items() -> None:
    rng = np.random.default_rng(0)
    new_items = rng.integers(1, 41, (6, 3)).astype(np.int32)
    zeros = np.zeros((6, 3), np.float32)
    vectors, popularity, repeat = rng.normal(size=(41, 4)), rng.normal(size=41), rng.normal(size=41)
    labels = SoftLabels(np.arange(6), zeros, zeros, new_items, zeros, vectors, popularity, repeat)
    moved = renumbered_labels(labels, order_of(40))
    assert np.array_equal(moved.vectors[moved.new_items], labels.vectors[labels.new_items])
    assert np.array_equal(moved.popularity[moved.new_items], labels.popularity[labels.new_items])
    assert np.array_equal(moved.repeat[moved.new_items], labels.repeat[labels.new_items])
