"""What somebody did lately: counts by event type over sliding windows.

Events are counted in the hour in which they happened; a window adds up the hours that it reaches back over. So nothing
is ever taken out again: what a window has left behind no longer counts when it is read. Purchases and refunds with an
order number are counted from order lines, because two channels may have seen the same order: a line is one purchase,
or one refund if it was given back. Counts are integers that add up: any order, chunking and grouping of the same
events, over owners and channels, gives the same windows.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

from contracts.events import EVENT_CODES, Event, EventType
from contracts.summary import OrderLine

Window = Literal["hour", "day", "week", "four_weeks"]
WINDOW_HOURS: dict[Window, int] = dict(zip(get_args(Window), (1, 24, 7 * 24, 28 * 24), strict=True))
KEPT_HOURS = max(WINDOW_HOURS.values())  # older counts are in no window

Bucket = tuple[int, int]
"""Hour since 1970, and one of `EVENT_CODES`."""

HourCounts = Counter[Bucket]
"""Events that no order line tells of. The sum of two is that of two disjoint sets of events."""

WindowCounts = dict[Window, dict[EventType, int]]
"""Every window; event types that did not happen are left out."""

_TYPES = {code: kind for kind, code in EVENT_CODES.items()}
_ORDERED = frozenset({EventType.PURCHASE, EventType.REFUND})


class HourCount(msgspec.Struct, frozen=True, array_like=True):
    """One bucket as it travels."""

    hour: int  # hours since 1970
    event: int  # EVENT_CODES
    count: int


def bucket_of(event: Event, hour: int) -> Bucket | None:
    """Where an event is counted, None if by an order line.

    Args:
        event: the event.
        hour: when it happened in hours since 1970, as fixed at its first acceptance.
    """
    if event.order_id is not None and event.type in _ORDERED:
        return None
    return hour, EVENT_CODES[event.type]


def is_kept(hour: int, now_hour: int) -> bool:
    """Whether any window at a moment reaches back to an hour, both in hours since 1970."""
    return hour > now_hour - KEPT_HOURS


def window_counts(
    counts: Mapping[Bucket, int], orders: Mapping[str, Mapping[str, OrderLine]], now_hour: int
) -> WindowCounts:
    """Counts over all windows at a moment; a window of n hours is the hour that runs and the n - 1 before it.

    Args:
        counts: a person's.
        orders: of the same person's `contracts.summary.Summary`.
        now_hour: hours since 1970.
    """
    every = Counter(counts)
    for lines in orders.values():
        for line in lines.values():
            every[line.hour, EVENT_CODES[EventType.REFUND if line.refunded else EventType.PURCHASE]] += 1
    found: WindowCounts = {}
    for window, hours in WINDOW_HOURS.items():
        inside: Counter[EventType] = Counter()
        for (hour, code), count in every.items():
            if now_hour - hours < hour <= now_hour and code in _TYPES:
                inside[_TYPES[code]] += count
        found[window] = dict(sorted(inside.items()))
    return found


def as_hour_counts(counts: Mapping[Bucket, int]) -> tuple[HourCount, ...]:
    """Buckets as they travel, in order."""
    return tuple(HourCount(hour, code, count) for (hour, code), count in sorted(counts.items()))
