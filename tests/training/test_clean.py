"""What cannot be right is left out, and every row is accounted for."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.events import EventType
from contracts.project import Clean
from contracts.summary import TYPE_SHARE
from training.clean import clean
from training.log import SCHEMA

GOOD = {
    "person": "p",
    "item_id": "i",
    "type": "purchase",
    "time_ms": 1_700_000_000_000,
    "order_id": "o",
    "quantity": 1,
    "price_minor": 100,
    "currency": "EUR",
    "device_class": None,
}


def frame(*rows: dict) -> pl.DataFrame:
    return pl.DataFrame([GOOD | row for row in rows], schema=SCHEMA)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"person": None}, "person_missing"),
        ({"item_id": None}, "item_missing"),
        ({"time_ms": None}, "time_missing"),
        ({"type": None}, "type_missing"),
        ({"quantity": None}, "quantity_missing"),
        ({"item_id": "POST"}, "item_excluded"),
        ({"time_ms": 0}, "time_impossible"),
        ({"time_ms": 4_200_000_000_000}, "time_impossible"),
        ({"quantity": 0}, "quantity_not_positive"),
        ({"quantity": -2}, "quantity_not_positive"),
        ({"quantity": 1_000_001}, "quantity_impossible"),
        ({"price_minor": -1}, "price_impossible"),
        ({"price_minor": 49}, "price_impossible"),
        ({"price_minor": 20_001}, "price_impossible"),
        ({"type": "view", "price_minor": -1}, "price_impossible"),
        ({}, "duplicate"),
        ({"type": "impression"}, "no_interest_impression"),
        ({"type": "remove_from_cart"}, "no_interest_remove_from_cart"),
    ],
)
def test_each_reason_is_counted(change: dict, reason: str) -> None:
    settings = Clean(minimum_price=0.5, maximum_price=200.0, exclude_items=("POST",))
    kept, dropped = clean(frame({}, change), settings, "EUR")
    assert dropped == {reason: 1}
    assert kept.rows(named=True) == [GOOD]


@pytest.mark.parametrize("change", [{"price_minor": None, "currency": None}, {"order_id": None}, {"price_minor": 0}])
def test_what_may_be_unknown_or_free_is_kept(change: dict) -> None:
    kept, dropped = clean(frame(change), Clean(), "EUR")
    assert (kept.height, dropped) == (1, {})


def test_price_bounds_hold_in_the_currency() -> None:
    assert clean(frame({"price_minor": 300}), Clean(maximum_price=2.0), "EUR")[1] == {"price_impossible": 1}
    assert clean(frame({"price_minor": 300}), Clean(maximum_price=300.0), "JPY")[1] == {}


def test_a_refund_takes_back_its_own_order_line_only() -> None:
    others = ({"item_id": "other"}, {"order_id": "later"}, {"person": "q"}, {"type": "view", "order_id": None})
    bought = frame({}, *others)
    kept, dropped = clean(pl.concat([bought, frame({"type": "refund"})]), Clean(), "EUR")
    assert dropped == {"refunded": 1, "refund": 1}
    assert kept.equals(bought[1:])


choices = st.fixed_dictionaries(
    {},
    optional={
        "person": st.sampled_from(["p", "q", None]),
        "type": st.sampled_from([*(kind.value for kind in EventType), None]),
        "order_id": st.sampled_from(["o", None]),
        "quantity": st.integers(-2, 3),
        "price_minor": st.sampled_from([None, -5, 0, 5, 10**9]),
        "time_ms": st.sampled_from([None, 0, 1_700_000_000_000]),
    },
)


@given(st.lists(choices, max_size=30))
def test_every_row_is_kept_or_counted_once(rows: list[dict]) -> None:
    given_rows = frame(*rows)
    kept, dropped = clean(given_rows, Clean(), "EUR")
    assert kept.height + sum(dropped.values()) == len(rows)
    assert kept.unique().height == kept.height
    assert all(TYPE_SHARE[EventType(kind)] for kind in kept["type"])
    assert set(kept.rows()) <= set(given_rows.rows())
    again, none = clean(kept, Clean(), "EUR")
    assert again.equals(kept)
    assert none == {}
