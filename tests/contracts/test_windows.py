"""Counts over sliding windows: sums over disjoint sets of events, each order once, nothing older than the window."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from contracts.codec import FORMATS, decode, encode
from contracts.events import Event, EventType
from contracts.summary import summarize
from contracts.sync import ProfileDelta
from contracts.windows import WINDOW_HOURS, as_hour_counts, bucket_of, is_kept, window_counts

NOW = 472_222
events = st.builds(
    Event,
    device_id=st.just("d"),
    epoch=st.just(1),
    seq=st.just(0),
    type=st.sampled_from(EventType),
    owner=st.just("login:a"),
    occurred_at=st.just(0),
    boot_id=st.just(""),
    uptime_ms=st.just(0),
    item_id=st.none() | st.sampled_from(["milk", "bread"]),
    order_id=st.sampled_from([None, "order-1", "order-2"]),
)
happened = st.lists(st.tuples(events, st.sampled_from([0, 1, 23, 24, 167, 168, 671, 672, 5000])), max_size=20)


def counted(lived):
    buckets = Counter(bucket for event, ago in lived if (bucket := bucket_of(event, NOW - ago)))
    return window_counts(buckets, summarize((event, NOW - ago) for event, ago in lived).orders, NOW)


def reckoned(lived, hours):
    """The same by looking at every event: an order's line happened when its last event did."""
    found, lines = Counter(), {}
    for event, ago in lived:
        if event.order_id and event.type in (EventType.PURCHASE, EventType.REFUND):
            if event.item_id:
                before = lines.get((event.order_id, event.item_id), (ago, False))
                refunded = event.type is EventType.REFUND or before[1]
                lines[event.order_id, event.item_id] = (min(ago, before[0]), refunded)
        elif ago < hours:
            found[event.type] += 1
    for ago, refunded in lines.values():
        if ago < hours:
            found[EventType.REFUND if refunded else EventType.PURCHASE] += 1
    return dict(found)


@given(happened)
def test_windows_say_what_happened_in_them(lived):
    assert counted(lived) == {window: reckoned(lived, hours) for window, hours in WINDOW_HOURS.items()}


@given(happened)
def test_an_order_told_again_counts_once(lived):
    seen_twice = [(event, ago) for event, ago in lived if bucket_of(event, NOW - ago) is None]
    assert counted(lived + seen_twice) == counted(lived)


@given(st.integers(0, 2000))
def test_what_is_kept_is_what_some_window_reaches(ago):
    view = Event(
        device_id="d", epoch=1, seq=0, type=EventType.VIEW, owner="login:a", occurred_at=0, boot_id="", uptime_ms=0
    )
    assert is_kept(NOW - ago, NOW) == any(counted([(view, ago)]).values())


@given(st.dictionaries(st.tuples(st.integers(0, NOW), st.integers(1, 9)), st.integers(1, 2**40)))
def test_buckets_travel_in_a_delta_which_older_phones_can_read(counts):
    delta = ProfileDelta(owner="login:a", base_version=0, version=1, hours=as_hour_counts(counts))
    for format in FORMATS:
        assert decode(encode(delta, format), ProfileDelta, format) == delta
    assert {(one.hour, one.event): one.count for one in delta.hours} == counts
