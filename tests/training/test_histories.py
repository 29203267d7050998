"""The arrays hold what `contracts.summary` says of the same events, bit for bit, and nothing that came later."""

import random
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contracts.events import EVENT_CODES, Event, EventType
from contracts.summary import (
    ERA_HOURS,
    HALF_LIFE_HOURS,
    HOUR_MS,
    History,
    fading_count,
    history_of,
    item_activities,
    summarize,
)
from training.histories import HOURS_OF_WEEK, Histories, histories_of, hour_of_week, timelines

LENGTH = 4
BASE_HOUR = 18 * ERA_HOURS
# Whole half-lives apart, so that weights add up to the same in many ways; within an era and across the begin of one.
hours = st.builds(
    lambda base, halves, more: base + halves * HALF_LIFE_HOURS + more,
    st.sampled_from([BASE_HOUR, BASE_HOUR - HALF_LIFE_HOURS]),
    st.integers(0, 3),
    st.sampled_from([0, 0, 0, 1, 200]),
)
moments = st.builds(lambda hour, minute: hour * HOUR_MS + minute * 60_000, hours, st.integers(0, 2))
lines = st.dictionaries(
    st.integers(1, 6), st.sampled_from([EventType.PURCHASE, EventType.PURCHASE, *EventType]), min_size=1, max_size=4
)
happened = st.lists(st.tuples(st.integers(0, 2), moments, lines), min_size=1, max_size=14)


def log_of(logs, created):
    people = sorted({person for person, _, _ in created})
    baskets = logs.ordered(
        logs.Basket(people.index(person), time_ms, tuple(sorted(lines.items()))) for person, time_ms, lines in created
    )
    return baskets, logs.prepared(baskets, items=6)


def summary_before(baskets, number):
    """The truth: the person's events before a basket, as a phone and the server would have seen them."""
    now = baskets[number]
    events = []
    for order, basket in enumerate(baskets):
        if basket.person == now.person and basket.time_ms < now.time_ms:
            for seq, (item, kind) in enumerate(basket.lines):
                event = Event(
                    device_id="d",
                    epoch=order,
                    seq=seq,
                    type=kind,
                    owner="login:a",
                    occurred_at=basket.time_ms,
                    boot_id="",
                    uptime_ms=0,
                    item_id=str(item),
                    order_id=f"order {order}" if kind is EventType.PURCHASE else None,
                )
                events.append((event, basket.time_ms // HOUR_MS))
    return summarize(events)


def rows_of(histories: Histories, row: int) -> History:
    seen = histories.items[row] > 0
    return History(
        *(tuple(getattr(histories, name)[row][seen].tolist()) for name in ("items", "events", "counts", "ages"))
    )


def every(prepared) -> np.ndarray:
    return np.arange(len(prepared.basket_start) - 1)


def no_context(baskets) -> np.ndarray:
    return np.zeros((len(baskets), 1), np.int32)


P, V = EventType.PURCHASE, EventType.VIEW
THREE_HALF_LIVES = BASE_HOUR * HOUR_MS + 3 * HALF_LIFE_HOURS * HOUR_MS


@given(happened)
@example(  # item 5 was bought once where item 2 was bought twice a half-life earlier: the same weight
    [(0, BASE_HOUR * HOUR_MS + k, {2: P}) for k in (0, 1)]
    + [(0, (BASE_HOUR + HALF_LIFE_HOURS) * HOUR_MS, {1: P, 3: P, 4: P, 5: P}), (0, THREE_HALF_LIVES, {1: P})]
)
@example([(0, BASE_HOUR * HOUR_MS, {1: P, 2: V, 3: P, 4: P, 5: P, 6: P}), (0, THREE_HALF_LIVES, {1: P})])
def test_a_history_is_what_the_contract_says(logs, created) -> None:
    baskets, prepared = log_of(logs, created)
    histories = histories_of(prepared, every(prepared), LENGTH, no_context(baskets))
    for number, basket in enumerate(baskets):
        truth = history_of(summary_before(baskets, number), basket.time_ms // HOUR_MS, LENGTH, int)
        counts = tuple(float(np.float32(count)) for count in truth.counts)
        assert rows_of(histories, number) == History(truth.items, truth.events, counts, truth.ages)


@given(happened)
def test_a_timeline_holds_everything_that_has_a_weight(logs, created) -> None:
    baskets, prepared = log_of(logs, created)
    for line in timelines(prepared, np.ones(len(baskets), bool)):
        truth = {int(item): one for item, one in item_activities(summary_before(baskets, line.basket)).items()}
        assert line.items.tolist() == sorted(truth)
        assert line.last_hour.tolist() == [truth[item].last_hour for item in sorted(truth)]
        assert line.events.tolist() == [truth[item].event for item in sorted(truth)]
        order = sorted(truth, key=lambda item: (fading_count(truth[item].weights, line.hour), item))
        assert [int(line.items[at]) for at in np.lexsort((line.items, line.weights))] == order


@given(happened, st.randoms(use_true_random=False))
def test_what_happens_now_or_later_is_not_in_a_history(logs, created, draw: random.Random) -> None:
    baskets, prepared = log_of(logs, created)
    number = draw.randrange(len(baskets))
    now = baskets[number]
    changed = [
        logs.change(basket, draw, items=6) if basket.person == now.person and basket.time_ms >= now.time_ms else basket
        for basket in baskets
    ]
    other = logs.prepared(changed, items=6)
    chosen = np.array([number])
    before, after = (histories_of(log, chosen, LENGTH, no_context(chosen)) for log in (prepared, other))
    assert rows_of(before, 0) == rows_of(after, 0)


@given(happened, st.randoms(use_true_random=False))
def test_some_baskets_have_the_histories_they_have_among_all(logs, created, draw: random.Random) -> None:
    baskets, prepared = log_of(logs, created)
    chosen = np.array(sorted(draw.sample(range(len(baskets)), k=draw.randint(1, len(baskets)))))
    all_of_them = histories_of(prepared, every(prepared), LENGTH, no_context(baskets))
    some = histories_of(prepared, chosen, LENGTH, no_context(chosen))
    for name in ("items", "events", "counts", "ages", "context"):
        assert (getattr(some, name) == getattr(all_of_them[chosen], name)).all()


@given(happened)
def test_padding_comes_first_and_is_zero_everywhere(logs, created) -> None:
    baskets, prepared = log_of(logs, created)
    histories = histories_of(prepared, every(prepared), LENGTH, no_context(baskets))
    padding = histories.items == 0
    assert (np.diff(padding.astype(int), axis=1) <= 0).all()
    for name, dtype in {"items": np.int32, "events": np.int32, "counts": np.float32, "ages": np.float32}.items():
        values = getattr(histories, name)
        assert values.dtype == dtype
        assert values.shape == (len(baskets), LENGTH)
        assert not values[padding].any()


def test_a_purchase_is_stronger_than_the_view_that_came_with_it(logs) -> None:
    """A basket may hold an item once for each type of event."""
    both = logs.Basket(0, BASE_HOUR * HOUR_MS, ((3, EventType.PURCHASE), (3, EventType.VIEW)))
    later = logs.basket(0, (BASE_HOUR + 5) * HOUR_MS, [1])
    history = histories_of(logs.prepared([both, later], items=6), np.array([1]), LENGTH, no_context([later]))
    expected = history_of(summary_before([both, later], 1), BASE_HOUR + 5, LENGTH, int)
    assert rows_of(history, 0).events == expected.events == (EVENT_CODES[EventType.PURCHASE],)
    assert rows_of(history, 0).counts == pytest.approx(expected.counts)
    assert expected.counts[0] > 1.0


def test_feeds_are_the_rows_one_at_a_time(logs) -> None:
    baskets = logs.draw(3)
    prepared = logs.prepared(baskets)
    context = np.arange(2 * len(baskets), dtype=np.int32).reshape(-1, 2)
    histories = histories_of(prepared, every(prepared), LENGTH, context)
    feeds = list(histories.feeds())
    assert len(feeds) == len(histories) == len(baskets)
    for name in ("items", "events", "counts", "ages", "context"):
        assert all(feed[name].shape[0] == 1 for feed in feeds)
        assert (np.concatenate([feed[name] for feed in feeds]) == getattr(histories, name)).all()


@given(st.integers(0, 1_200_000))
def test_hour_of_week_is_the_calendars(hour: int) -> None:
    moment = datetime.fromtimestamp(hour * 3600, UTC)
    assert hour_of_week(np.array([hour])).tolist() == [moment.weekday() * 24 + moment.hour]
    assert 0 <= hour_of_week(np.array([hour]))[0] < HOURS_OF_WEEK
