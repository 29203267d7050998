"""The summary is a monoid over sets of events, and a history is what is left of it on read."""

from fractions import Fraction
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from contracts.codec import FORMATS, decode, encode
from contracts.events import EVENT_CODES, Event, EventType, Money
from contracts.summary import (
    EMPTY,
    ERA_HALF_LIVES,
    ERA_HOURS,
    HALF_LIFE_HOURS,
    UNIT,
    OrderLine,
    Summary,
    era_of,
    fading_count,
    history_of,
    item_activities,
    merge,
    summarize,
    summary_of,
    weigh,
    weight_at,
    weights_at,
)

ITEMS = ("milk", "bread", "eggs", "tea")
NOW = 20 * ERA_HOURS + 700  # some hours into an era
events = st.builds(
    Event,
    device_id=st.just("d"),
    epoch=st.just(1),
    seq=st.integers(0, 100),
    type=st.sampled_from(EventType),
    owner=st.just("login:a"),
    occurred_at=st.just(0),
    boot_id=st.just(""),
    uptime_ms=st.just(0),
    item_id=st.none() | st.sampled_from(ITEMS),
    quantity=st.integers(1, 5),
    price=st.none() | st.builds(Money, st.integers(-500, 500), st.just("EUR")),
    order_id=st.sampled_from([None, "order-1", "order-2"]),
)
happened = st.lists(st.tuples(events, st.integers(NOW - 2 * ERA_HOURS, NOW)), max_size=12)
summaries = happened.map(summarize)


@given(summaries, summaries)
def test_merging_is_commutative(left, right):
    assert left | right == right | left


@given(summaries, summaries, summaries)
def test_merging_is_associative(one, two, three):
    assert (one | two) | three == one | (two | three)


@given(summaries)
def test_nothing_is_neutral(summary):
    assert summary | EMPTY == EMPTY | summary == summary


@given(summaries, summaries)
def test_merging_leaves_its_arguments_alone(left, right):
    before = encode(left), encode(right)
    merge(left, right)
    assert (encode(left), encode(right)) == before


@given(happened, st.randoms(use_true_random=False), st.integers(1, 5))
def test_any_order_and_chunking_of_the_same_events_gives_the_same_summary(created, random, chunks):
    shuffled = random.sample(created, k=len(created))
    parts = [summarize(shuffled[start::chunks]) for start in range(chunks)]
    assert reduce(merge, parts, EMPTY) == summarize(created)


@given(happened)
def test_an_order_line_seen_again_by_another_channel_changes_nothing(created):
    ordered = [
        (event, hour)
        for event, hour in created
        if event.order_id and event.type in (EventType.PURCHASE, EventType.REFUND)
    ]
    assert summarize(created) | summarize(ordered) == summarize(created)


@given(st.integers(-(10**6), 10**6))
def test_weights_never_fall_and_double_with_the_half_life_in_every_era(hour):
    def total(at):
        return weigh(weights_at(at), era_of(hour))

    assert total(hour) <= total(hour + 1)
    assert total(hour + HALF_LIFE_HOURS) == 2 * total(hour)
    assert UNIT <= weight_at(hour) < UNIT << ERA_HALF_LIVES


@given(
    st.dictionaries(st.integers(-3, 30), st.integers(0, 2**40), max_size=4).map(
        lambda eras: tuple(sorted(eras.items()))
    ),
    st.integers(-4, 30).map(lambda e: e * ERA_HOURS),
)
def test_a_fading_count_is_the_exact_sum_of_every_era(weights, now):
    exact = sum(
        (Fraction(weight, UNIT) * Fraction(2) ** (ERA_HALF_LIVES * (era - era_of(now))) for era, weight in weights),
        Fraction(0),
    )
    assert fading_count(weights, now) == float(exact)


@given(st.integers(0, HALF_LIFE_HOURS - 1))
def test_a_weight_is_the_rounded_power_of_two(hours):
    """round(U * 2^(h/H)) = w means (w - 1/2)^H <= U^H * 2^h <= (w + 1/2)^H, in whole numbers."""
    weight = weight_at(ERA_HOURS + hours)
    exact = UNIT**HALF_LIFE_HOURS << hours
    assert (Fraction(2 * weight - 1, 2)) ** HALF_LIFE_HOURS <= exact <= (Fraction(2 * weight + 1, 2)) ** HALF_LIFE_HOURS


def purchase(item, order_id=None, type=EventType.PURCHASE, quantity=1):
    return Event(
        device_id="d",
        epoch=1,
        seq=0,
        type=type,
        owner="login:a",
        occurred_at=0,
        boot_id="",
        uptime_ms=0,
        item_id=item,
        order_id=order_id,
        quantity=quantity,
        price=Money(200, "EUR"),
    )


def test_an_order_line_holds_what_was_bought_and_whether_it_went_back():
    bought = summary_of(purchase("milk", "order-1", quantity=3), NOW)
    assert bought.orders == {"order-1": {"milk": OrderLine(NOW, 3, 600)}}
    returned = bought | summary_of(purchase("milk", "order-1", EventType.REFUND), NOW + 5)
    assert returned.orders == {"order-1": {"milk": OrderLine(NOW + 5, 3, 600, refunded=True)}}
    assert not item_activities(returned)["milk"].weights


def test_a_purchase_outweighs_what_led_to_it():
    def weight(type):
        activity = summary_of(purchase("milk", type=type), NOW).items.get("milk")
        return dict(activity.weights)[era_of(NOW)] if activity else 0

    assert weight(EventType.PURCHASE) == weight_at(NOW)
    assert weight(EventType.PURCHASE) > weight(EventType.ADD_TO_CART) > weight(EventType.RECOMMENDATION_TAPPED)
    assert weight(EventType.RECOMMENDATION_TAPPED) > weight(EventType.VIEW) > weight(EventType.SEARCH) > 0
    assert weight(EventType.IMPRESSION) == weight(EventType.RECOMMENDATION_SHOWN) == 0


@given(summaries, st.integers(1, 4))
def test_a_history_is_distinct_known_items_of_greatest_weight_in_order_of_time(summary, length):
    catalogue = {"milk": 1, "bread": 2, "eggs": 3}  # tea is not sold any more
    history = history_of(summary, NOW, length, lambda item: catalogue.get(item, 0))
    weights = {catalogue[item]: one for item, one in item_activities(summary).items() if one.weights and item != "tea"}
    assert len(set(history.items)) == len(history.items) == min(length, len(weights))
    assert len(history.items) == len(history.events) == len(history.counts) == len(history.ages)

    def total(item):
        return weigh(weights[item].weights, 0)

    left_out = [total(item) for item in weights if item not in history.items]
    for item, event, count, age in zip(history.items, history.events, history.counts, history.ages, strict=True):
        assert total(item) >= max(left_out, default=0)
        assert (event, age) == (weights[item].event, NOW - weights[item].last_hour)
        assert count == fading_count(weights[item].weights, NOW)
    assert list(history.ages) == sorted(history.ages, reverse=True)


@given(summaries)
def test_a_history_does_not_depend_on_the_order_of_what_it_is_made_of(summary):
    reversed_ = Summary(items=dict(reversed(summary.items.items())), orders=dict(reversed(summary.orders.items())))
    index = {item: number for number, item in enumerate(ITEMS, start=1)}.__getitem__
    assert history_of(summary, NOW, 3, index) == history_of(reversed_, NOW, 3, index)


def test_one_purchase_counts_one_at_once_and_half_after_a_half_life():
    summary = summary_of(purchase("milk"), NOW)
    for later, count in ((0, 1.0), (HALF_LIFE_HOURS, 0.5), (2 * HALF_LIFE_HOURS, 0.25)):
        history = history_of(summary, NOW + later, 10, lambda _: 1)
        assert (history.counts, history.ages) == ((count,), (float(later),))
        assert history.events == (EVENT_CODES[EventType.PURCHASE],)


def test_nothing_has_an_empty_history():
    assert history_of(EMPTY, NOW, 10, lambda _: 1).items == ()


@given(summaries, st.sampled_from(FORMATS))
def test_a_summary_comes_back_from_the_wire_as_it_was(summary, format):
    assert decode(encode(summary, format), Summary, format) == summary
