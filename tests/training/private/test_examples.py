"""What private training reads of people: no more than is to be foreseen, with coins that are asked for."""

from collections.abc import Callable

import numpy as np
import pytest

from contracts.events import EventType
from training.private.examples import MAX_TARGETS, latest_baskets, next_basket_examples, training_sequences

DAY = 24 * 3_600_000


def counting(asked: list[int], coins: Callable[[int], np.ndarray]) -> Callable[[int], np.ndarray]:
    def source(size: int) -> np.ndarray:
        asked.append(size)
        return coins(size)

    return source


@pytest.fixture
def prepared(logs):
    """Two people; the second one only looks in the second basket. The third is a phone."""
    baskets = [
        logs.basket(0, logs.start_ms, [1, 2, 3]),
        logs.basket(0, logs.start_ms + DAY, range(1, 41)),
        logs.basket(1, logs.start_ms, [4]),
        logs.basket(1, logs.start_ms + DAY, [5], EventType.VIEW),
        logs.basket(2, logs.start_ms, [6]),
        logs.basket(2, logs.start_ms + DAY, [7]),
    ]
    return logs.prepared(baskets, items=40, phones=(2,))


def test_the_order_within_a_basket_follows_the_coins_of_the_source(prepared):
    asked: list[int] = []
    forwards = training_sequences(prepared, counting(asked, lambda size: np.arange(size) / size))
    backwards = training_sequences(prepared, lambda size: -np.arange(size) / size)
    assert asked == [44]  # views and phones are left out
    assert forwards.of(0)[:3].tolist() == [1, 2, 3]
    assert backwards.of(0)[:3].tolist() == [3, 2, 1]
    assert sorted(forwards.of(0)) == sorted(backwards.of(0))
    assert forwards.of(1).tolist() == [4]


def test_a_view_teaches_nothing_and_a_large_basket_keeps_any_of_its_items(prepared):
    baskets = latest_baskets(prepared, 9)
    assert baskets.tolist() == [1]
    first, last = (
        set(next_basket_examples(prepared, baskets, 8, coins).targets[0].tolist())
        for coins in (lambda size: np.arange(size) / size, lambda size: -np.arange(size) / size)
    )
    assert first == set(range(1, MAX_TARGETS + 1))
    assert last == set(range(41 - MAX_TARGETS, 41))


def test_examples_are_drawn_by_the_coins_of_the_source(prepared):
    examples = next_basket_examples(prepared, np.array([0, 1]), 8, lambda size: np.zeros(size))
    people = np.array([0, 1])
    assert examples.draw(people, 2, lambda size: np.full(size, 0.99)).tolist() == [[1, 1], [-1, -1]]
    assert examples.draw(people, 2, np.zeros).tolist() == [[0, 0], [-1, -1]]
