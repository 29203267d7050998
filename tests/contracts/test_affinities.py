"""Shares of the fading purchases: whatever was merged in whatever order, they add up to one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.affinities import MAX_CATEGORIES, PriceBand, category_affinities, price_affinities
from contracts.rfm import RFM_HOURS, Rfm, rfm_of
from contracts.summary import EMPTY, HALF_LIFE_HOURS, Activity, OrderLine, Summary, fading_count, weights_at

NOW = 472_222
CATEGORY = {"milk": "dairy", "cheese": "dairy", "bread": "bakery", "thing": ""}
BANDS = {"milk": PriceBand.LOW, "cheese": PriceBand.HIGH, "bread": PriceBand.MIDDLE, "thing": None}
lines = st.builds(OrderLine, st.integers(NOW - 5000, NOW), st.integers(1, 3), st.integers(0, 900), st.booleans())
orders = st.dictionaries(st.sampled_from(["o1", "o2", "o3"]), st.dictionaries(st.sampled_from([*CATEGORY]), lines))
activities = st.builds(lambda hour: Activity(weights_at(hour), hour, 9), st.integers(NOW - 5000, NOW))
summaries = st.builds(Summary, st.dictionaries(st.sampled_from([*CATEGORY]), activities), orders)


def reckoned(summary, name):
    """Shares by adding up floats that fade, item by item."""
    counts = {}
    kept = (
        (item, weights_at(line.hour))
        for bought in summary.orders.values()
        for item, line in bought.items()
        if not line.refunded
    )
    for item, weights in [*((item, one.weights) for item, one in summary.items.items()), *kept]:
        if name[item]:
            counts[name[item]] = counts.get(name[item], 0.0) + fading_count(weights, NOW)
    return {key: count / sum(counts.values()) for key, count in counts.items()}


@given(summaries)
def test_shares_are_those_of_fading_purchases(summary):
    assert category_affinities(summary, CATEGORY.__getitem__) == pytest.approx(reckoned(summary, CATEGORY))
    expected = reckoned(summary, BANDS)
    found = price_affinities(summary, BANDS.__getitem__)
    assert found == pytest.approx({band: expected.get(band, 0.0) for band in PriceBand} if expected else {})


@given(summaries, summaries)
def test_the_order_of_merging_changes_nothing(left, right):
    assert category_affinities(left | right, CATEGORY.__getitem__) == category_affinities(
        right | left, CATEGORY.__getitem__
    )


def test_the_greatest_come_first_and_only_so_many():
    items = {f"item-{number:02}": Activity(weights_at(NOW - number * 100), NOW, 9) for number in range(30)}
    found = category_affinities(Summary(items=items), lambda item: item)
    assert [*found] == [f"item-{number:02}" for number in range(MAX_CATEGORIES)]
    assert category_affinities(EMPTY, str) == price_affinities(EMPTY, lambda _: PriceBand.LOW) == {}


def test_what_was_bought_half_a_life_ago_weighs_half():
    summary = Summary(
        orders={"o1": {"milk": OrderLine(NOW - HALF_LIFE_HOURS, 1, 1)}, "o2": {"bread": OrderLine(NOW, 1, 1)}}
    )
    assert category_affinities(summary, CATEGORY.__getitem__) == pytest.approx({"bakery": 2 / 3, "dairy": 1 / 3})


def test_recency_frequency_and_money_are_of_the_last_year():
    def order(ago, **lines):
        return {item: OrderLine(NOW - ago, 1, amount, refunded) for item, (amount, refunded) in lines.items()}

    summary = Summary(
        orders={
            "o1": order(5, milk=(300, False), bread=(200, True)),
            "o2": order(90, milk=(50, False)),
            "given back": order(1, milk=(999, True)),
            "long ago": order(RFM_HOURS, milk=(999, False)),
        }
    )
    assert rfm_of(summary, NOW) == Rfm(recency_hours=5, frequency=2, monetary=350)
    assert rfm_of(EMPTY, NOW) == rfm_of(summary, NOW + RFM_HOURS) == Rfm()
