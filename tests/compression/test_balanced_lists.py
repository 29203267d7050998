"""Lists of near items: every item once, all lists full, near items together."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from compression.balanced_lists import list_order


@given(items=st.integers(0, 300), slots=st.integers(1, 40), width=st.integers(1, 5), seed=st.integers(0, 5))
def test_every_item_has_one_number_and_padding_keeps_its_own(items: int, slots: int, width: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(items + 1, width)).astype(np.float32)
    order = list_order(vectors, slots, seed)
    assert order[0] == 0
    assert np.array_equal(np.sort(order), np.arange(items + 1))


def test_the_same_seed_gives_the_same_order() -> None:
    vectors = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)
    assert np.array_equal(list_order(vectors, 16, 3), list_order(vectors, 16, 3))


def test_clusters_of_a_list_s_length_become_lists() -> None:
    rng = np.random.default_rng(2)
    clusters, slots = 8, 10
    middles = rng.normal(0.0, 10.0, (clusters, 4))
    member = rng.permutation(np.repeat(np.arange(clusters), slots))
    vectors = (middles[member] + rng.normal(0.0, 0.01, (clusters * slots, 4))).astype(np.float32)
    listed = member[list_order(vectors, slots, 0)].reshape(clusters, slots)
    elsewhere = slots - np.array([np.bincount(row).max() for row in listed])
    assert sum(elsewhere) <= 2  # padding and the item it traded places with


def test_identical_items_are_listed_too() -> None:
    order = list_order(np.ones((100, 3), np.float32), 7, 0)
    assert np.array_equal(np.sort(order), np.arange(100))


def test_lists_are_tighter_than_lists_at_random() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(2001, 8)).astype(np.float32)

    def spread(order: np.ndarray) -> float:
        return float(np.mean([vectors[order[first : first + 50]].var(0).sum() for first in range(0, 2000, 50)]))

    assert spread(list_order(vectors, 50, 0)) < 0.6 * spread(np.arange(2001))
