"""Hourly counts in the store: the same whatever the order, chunks, owners and channels that events came by."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from contracts.consent import Purpose
from contracts.events import EVENT_CODES, EventType
from contracts.summary import HOUR_MS
from contracts.windows import KEPT_HOURS, WINDOW_HOURS, HourCounts, window_counts
from sync_server import census, hour_counts, people, tables

OWNERS = ("login:ada", "card:1", "card:2")


def stored(world, owner="login:ada") -> HourCounts:
    with world.store.read() as connection:
        known = people.find(connection, world.store.keys, [owner])[owner]
        family = people.families(connection, {known.person_id})[known.person_id]
        return hour_counts.of_owners(connection, [member.id for member in family])


def windows_of(world, owner="login:ada"):
    return window_counts(
        stored(world, owner), census.profile(world.store, owner).orders, world.clock.now_ms() // HOUR_MS
    )


def rows(world) -> int:
    with world.store.read() as connection:
        return connection.execute(select(func.count()).select_from(tables.hour_counts)).scalar_one()


@st.composite
def lives(draw):
    """What happened: (type, order, item, hours ago), each seen by one or both channels, in an order and in chunks."""
    kinds = st.sampled_from(
        [EventType.VIEW, EventType.IMPRESSION, EventType.SEARCH, EventType.PURCHASE, EventType.REFUND]
    )
    one = st.tuples(
        kinds,
        st.sampled_from([None, "order-1", "order-2"]),
        st.sampled_from(["milk", "bread"]),
        st.sampled_from([0, 1, 23, 24, 100, 168, 671, 672, 900]),
        st.sampled_from(OWNERS),
    )
    lived = draw(st.lists(one, max_size=14))
    sent = [
        (*each, channel)
        for each in lived
        for channel in draw(st.sampled_from([("phone",), ("till",), ("phone", "till")]))
    ]
    return draw(st.permutations(sent)), draw(st.integers(1, 5))


def reckoned(sent, hours):
    """By looking at every event: a line of an order once, when its last event was, as a refund if there is one."""
    found, lines = Counter(), {}
    for kind, order, item, ago, _, _ in sent:
        if order and kind in (EventType.PURCHASE, EventType.REFUND):
            before = lines.get((order, item), (ago, False))
            lines[order, item] = (min(ago, before[0]), before[1] or kind is EventType.REFUND)
        elif ago < hours:
            found[kind] += 1
    for ago, refunded in lines.values():
        if ago < hours:
            found[EventType.REFUND if refunded else EventType.PURCHASE] += 1
    return dict(found)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(life=lives())
def test_any_order_chunks_owners_and_channels_give_the_same_windows(new_world, held_profile, life):
    sent, size = life
    with TemporaryDirectory() as folder, new_world(Path(folder)) as world:
        held = held_profile()
        phone, till = world.phone(), world.till()
        phone.log_in("login:ada", "card:1", "card:2")
        world.pass_hours(1000)  # since then all was allowed
        for start in range(0, len(sent), size):
            for device in (phone, till):
                chunk = [
                    device.event(
                        item,
                        kind,
                        order_id=order,
                        # A till speaks for cards only: which owner an event has makes no difference to the person.
                        owner=owner if device is phone or owner != "login:ada" else "card:1",
                        uptime_ms=device.uptime_ms - ago * HOUR_MS,
                    )
                    for kind, order, item, ago, owner, channel in sent[start : start + size]
                    if channel == ("phone" if device is phone else "till")
                ]
                answer = device.sync(
                    *chunk, **({"owner": "login:ada", "profile_version": held.version} if device is phone else {})
                )
                assert all(verdict.kind == "accepted" for verdict in answer.verdicts)
                held.apply(answer.profile)
        held.apply(phone.sync(owner="login:ada", profile_version=held.version).profile)
        expected = {window: reckoned(sent, hours) for window, hours in WINDOW_HOURS.items()}
        assert windows_of(world) == expected
        assert window_counts(held.hours, held.summary.orders, world.clock.now_ms() // HOUR_MS) == expected


def test_an_event_sent_again_is_not_counted_again(world):
    phone = world.phone()
    phone.log_in("login:ada")
    view = phone.event("milk", EventType.VIEW)
    phone.sync(view)
    phone.sync(view, phone.event("milk", EventType.VIEW))
    assert windows_of(world)["hour"] == {EventType.VIEW: 2}


def test_what_happened_leaves_one_window_after_the_other(world):
    phone = world.phone()
    phone.log_in("login:ada")
    phone.sync(phone.event(None, EventType.SEARCH), phone.event("milk", order_id="order-1"))
    everything = {EventType.SEARCH: 1, EventType.PURCHASE: 1}
    for hours, left in ((1, ["day", "week", "four_weeks"]), (24, ["week", "four_weeks"]), (168, ["four_weeks"])):
        world.clock.time_ms = phone.booted_ms + HOUR_MS * (hours + 1)
        assert [window for window, counts in windows_of(world).items() if counts == everything] == left
    world.clock.time_ms = phone.booted_ms + HOUR_MS * (KEPT_HOURS + 1)
    assert not any(windows_of(world).values())


def test_counts_that_no_window_reaches_are_pruned_and_late_ones_not_stored(world):
    phone = world.phone()
    phone.log_in("login:ada")
    phone.sync(phone.event("milk", EventType.VIEW), phone.event("bread", EventType.VIEW))
    world.pass_hours(2)
    phone.sync(phone.event("milk", EventType.VIEW))
    assert (rows(world), hour_counts.prune(world.store)) == (2, 0)
    world.pass_hours(KEPT_HOURS - 2)
    assert (hour_counts.prune(world.store), rows(world)) == (1, 1)
    version = phone.sync(owner="login:ada").profile.version
    late = phone.event("milk", EventType.IMPRESSION, uptime_ms=0)
    assert phone.sync(late, owner="login:ada", profile_version=version).profile is None
    assert rows(world) == 1


def test_pruning_goes_on_until_nothing_is_left(world, monkeypatch):
    monkeypatch.setattr(hour_counts, "PRUNED_TOGETHER", 2)
    phone = world.phone()
    phone.log_in("login:ada")
    for _ in range(5):
        phone.sync(phone.event("milk", EventType.VIEW))
        world.pass_hours(1)
    world.pass_hours(KEPT_HOURS)
    assert (hour_counts.prune(world.store), rows(world)) == (5, 0)


def test_without_consent_nothing_is_counted_nor_told(world):
    phone = world.phone()
    phone.log_in("login:ada", purposes=(Purpose.ANALYTICS,))
    delta = phone.sync(phone.event("milk", EventType.VIEW), owner="login:ada").profile
    assert (delta.hours, rows(world)) == ((), 0)


def test_a_delta_tells_the_buckets_that_changed_added_up_over_owners(world):
    phone, till = world.phone(), world.till()
    phone.log_in("login:ada", "card:1")
    hour = world.clock.now_ms() // HOUR_MS
    view, purchase = EVENT_CODES[EventType.VIEW], EVENT_CODES[EventType.PURCHASE]
    till.sync(till.event("milk", owner="card:1"))
    whole = phone.sync(phone.event("milk"), phone.event("tea", EventType.VIEW), owner="login:ada").profile
    assert {(one.hour, one.event, one.count) for one in whole.hours} == {(hour, purchase, 2), (hour, view, 1)}
    till.sync(till.event("tea", owner="card:1"))
    changed = phone.sync(owner="login:ada", profile_version=whole.version).profile
    assert [(one.hour, one.event, one.count) for one in changed.hours] == [(hour, purchase, 3)]
    assert phone.sync(owner="login:ada", profile_version=changed.version).profile is None


@pytest.mark.parametrize("events", [1, 40])
def test_counting_takes_one_statement_for_any_number_of_events(world, events):
    """And telling it one, as long as nobody has more than one owner."""
    from sqlalchemy import event

    phone = world.phone()
    phone.log_in("login:ada")
    spoken: list[str] = []
    engine = world.store._engine
    event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: spoken.append(statement))
    phone.sync(*(phone.event(None, EventType.SEARCH) for _ in range(events)), owner="login:ada", profile_version=1)
    counting = [one for one in spoken if "hour_counts" in one]
    assert [one.split()[0] for one in counting] == ["INSERT", "SELECT"]
