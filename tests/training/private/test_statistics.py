"""What one person can change in a released sum, and what the sums are without noise."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contracts.noise import seeded_noise
from training.private.statistics import (
    head_of,
    neighbours_of,
    noisy_pairs,
    noisy_popularity,
    person_pairs,
    spectral_table,
)
from training.sequence.sequences import Sequences

ITEMS = 9
people = st.lists(st.lists(st.integers(1, ITEMS), max_size=12), min_size=1, max_size=6)


def sequences_of(histories: list[list[int]]) -> Sequences:
    start = np.concatenate([[0], np.cumsum([len(each) for each in histories])]).astype(np.int64)
    item = np.array([item for each in histories for item in each], np.int32)
    return Sequences(item, start, ITEMS)


def no_noise(size: int) -> np.ndarray:
    raise AssertionError("asked for noise")


@given(st.lists(st.integers(0, ITEMS), max_size=30))
def test_pairs_of_a_person_by_hand(items: list[int]):
    pairs, weights = person_pairs(np.array(items, np.int32), ITEMS)
    expected: dict[int, float] = {}
    for at, low in enumerate(items):
        for gap, high in enumerate(items[at + 1 : at + 21], start=1):
            first, second = sorted((low, high))
            if first and first != second:
                key = first * (ITEMS + 1) + second
                expected[key] = expected.get(key, 0.0) + gap**-0.7
    assert dict.fromkeys(pairs.tolist()) == dict.fromkeys(sorted(expected))
    if expected:
        assert np.isclose(np.linalg.norm(weights), 1.0)
        raw = np.array([expected[int(pair)] for pair in pairs])
        np.testing.assert_allclose(weights, raw / np.linalg.norm(raw))


@given(people, st.data())
def test_removing_a_person_moves_each_sum_by_at_most_one(histories: list[list[int]], data: st.DataObject):
    gone = data.draw(st.integers(0, len(histories) - 1))
    fewer = histories[:gone] + histories[gone + 1 :]
    head = np.arange(1, ITEMS + 1)
    with_everybody, without = sequences_of(histories), sequences_of(fewer)
    pairs = noisy_pairs(with_everybody, head, 0.0, no_noise) - noisy_pairs(without, head, 0.0, no_noise)
    assert np.linalg.norm(np.triu(pairs)) <= 1.0 + 1e-5
    zeros = noisy_popularity(with_everybody, 0.0, no_noise) - noisy_popularity(without, 0.0, no_noise)
    assert np.linalg.norm(zeros) <= 1.0 + 1e-9


def test_noise_has_the_deviation_that_was_charged():
    nobody = Sequences(np.zeros(0, np.int32), np.zeros(2, np.int64), 400)
    pairs = noisy_pairs(nobody, np.arange(1, 401), 3.0, seeded_noise(1))
    upper = pairs[np.triu_indices(400, 1)]
    assert abs(upper.std() - 3.0) < 0.05
    assert (pairs == pairs.T).all()
    popularity = noisy_popularity(nobody, 3.0, lambda size: np.linspace(-1, 1, size))
    assert popularity[0] == 0.0
    assert popularity[1:].min() == 3.0  # floored at the deviation


def test_noise_of_a_hundred_blocks_is_never_the_same_twice():
    nobody = Sequences(np.zeros(0, np.int32), np.zeros(2, np.int64), 600)
    pairs = noisy_pairs(nobody, np.arange(1, 601), 1.0, seeded_noise(1))
    upper = pairs[np.triu_indices(600, 1)]
    assert len(np.unique(upper)) > 0.98 * len(upper)


def test_neighbours_are_the_closest():
    rng = np.random.default_rng(0)
    head = np.array([2, 3, 5, 8])
    pairs = rng.normal(size=(4, 4)).astype(np.float32)
    pairs = np.triu(pairs, 1) + np.triu(pairs, 1).T
    found = neighbours_of(pairs, head, ITEMS, 3)
    for row, item in enumerate(head):
        expected = [(v, head[c]) for c, v in enumerate(pairs[row]) if v > 0]
        expected.sort(reverse=True)
        assert found.items[item][: len(expected)].tolist() == [item for _, item in expected[:3]]
        np.testing.assert_allclose(found.closeness[item][: len(expected)], [v for v, _ in expected[:3]])
    assert not found.items[[0, 1, 4, 6, 7, 9]].any()


def test_directions_of_nothing_but_noise_are_nothing():
    rng = np.random.default_rng(0)
    noise = np.triu(rng.normal(size=(300, 300)), 1).astype(np.float32)
    table = spectral_table(noise + noise.T, np.arange(1, 301), 300, 8, 1.05, 0)
    assert not table.any()
    group = np.repeat([1.0, -1.0], 150)
    table = spectral_table(
        noise + noise.T + np.outer(group, group).astype(np.float32), np.arange(1, 301), 300, 8, 1.05, 0
    )
    assert (np.abs(table[1:]).max(0) > 0).sum() == 1  # the one direction there is
    assert np.abs(np.corrcoef(table[1:, np.abs(table).max(0).argmax()], group)[0, 1]) > 0.9


def test_the_head_is_what_is_popular():
    assert head_of(np.array([0.0, 1.0, 5.0, 3.0])).tolist() == [1, 2, 3]
