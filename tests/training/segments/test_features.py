"""People's features as arrays are what the contract says of each person's summary."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import Event, EventType, Money
from contracts.segments import FEATURES, features_of, purchases_of
from contracts.summary import EMPTY, HOUR_MS, summary_of
from training.segments.features import features_of_people

KINDS = (EventType.VIEW, EventType.ADD_TO_CART, EventType.IMPRESSION, EventType.REFUND, EventType.PURCHASE)
PHONES = (1,)


def summary(basket, number: int):
    """What a server adds up of one basket, in which every purchase has an order number."""
    total = EMPTY
    for item, kind in basket.lines:
        order = f"order {number}" if kind in (EventType.PURCHASE, EventType.REFUND) else None
        event = Event(
            device_id="d",
            epoch=1,
            seq=0,
            type=kind,
            owner="login:a",
            occurred_at=basket.time_ms,
            boot_id="",
            uptime_ms=0,
            item_id=f"i{item}",
            price=Money(100 * item, "EUR"),
            order_id=order,
        )
        total |= summary_of(event, basket.time_ms // HOUR_MS)
    return total


@given(st.integers(0, 10**6), st.sampled_from([None, 24, 24 * 21, 24 * 365]))
def test_they_are_the_features_of_the_summaries(logs, seed: int, window: int | None) -> None:
    draw = random.Random(seed)
    baskets = logs.draw(seed, people=6)
    for one in list(baskets):
        if draw.random() < 0.4:
            lines = {(draw.randint(1, 14), draw.choice(KINDS)) for _ in range(3)}
            baskets.append(logs.Basket(one.person, one.time_ms + draw.randrange(5) * HOUR_MS, tuple(lines)))
    only_looked = [
        logs.basket(6, logs.start_ms, [3], EventType.VIEW),
        logs.basket(7, logs.start_ms, [3, 4], EventType.IMPRESSION),
    ]
    baskets += [*only_looked, logs.basket(8, logs.train_end_ms, [1])]
    prepared = logs.prepared(baskets, phones=PHONES)
    categories = ["", *(f"c{item % 4}" for item in range(1, 15))]
    prepared.items.category[:] = categories
    found = features_of_people(prepared, window)
    now = logs.train_end_ms // HOUR_MS
    for person in range(9):
        whole = EMPTY
        for number, basket in enumerate(baskets):
            if basket.person == person and basket.time_ms < logs.train_end_ms:
                whole |= summary(basket, number)
        purchases = purchases_of(whole, now, found.window_hours)
        assert found.known[person] == (purchases is not None)
        if purchases is not None:
            expected = features_of(purchases, now, found.window_hours, lambda item: categories[int(item[1:])])
            assert tuple(expected) == FEATURES
            assert found.values[person] == pytest.approx(list(expected.values()))
    assert found.known.tolist()[6:] == [True, False, False]


def test_the_window_is_as_long_as_the_training_weeks_of_central_people_and_at_most_a_year(logs) -> None:
    baskets = [logs.basket(0, logs.train_end_ms - 50 * HOUR_MS, [1]), logs.basket(1, logs.start_ms, [1])]
    assert features_of_people(logs.prepared(baskets, phones=[1])).window_hours == 51
    old = [logs.basket(0, logs.train_end_ms - 9000 * HOUR_MS, [1])]
    assert features_of_people(logs.prepared(baskets + old, phones=[1])).window_hours == 365 * 24


def test_who_did_nothing_in_the_window_but_before_it_is_known_and_away(logs) -> None:
    found = features_of_people(logs.prepared([logs.basket(0, logs.start_ms, [1, 2])]), window_hours=24)
    assert found.known.all()
    row = dict(zip(FEATURES, found.values[0], strict=True))
    assert row["recency"] == row["browsing_recency"] == pytest.approx(np.log(2))
    assert {row[name] for name in ("frequency", "value", "items", "categories", "basket_size")} == {0.0}
