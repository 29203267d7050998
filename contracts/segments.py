"""Segments of people: what a person is judged by, and the rule that judges them.

The training side finds the segments and saves this definition; whoever holds it and a person's summary, the server
too, gives the same person the same segment, with nothing but arithmetic.
"""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Literal, get_args

import msgspec

from contracts.events import EVENT_CODES, EventType
from contracts.summary import Summary

Method = Literal["kmeans", "hierarchical", "deep_embedded"]
METHODS: tuple[Method, ...] = get_args(Method)
MAX_SEGMENTS = 20  # each costs the adapter some floats, see contracts.rounds.MAX_ADAPTER_FLOATS
HOURS_PER_DAY = 24
NEUTRAL_IRREGULARITY = 1.0  # of purchases that come at random (a Poisson process), where there are too few to tell
RECENCY, FREQUENCY, VALUE = "recency", "frequency", "value"
ACTIVE_DAYS, ITEMS, CATEGORIES, BASKET_SIZE = "active_days", "items", "categories", "basket_size"
IRREGULARITY, BROWSING_RECENCY = "irregularity", "browsing_recency"
FEATURES = (
    RECENCY,  # log of 1 + days since the last order, the whole window where there was none
    FREQUENCY,  # log of 1 + orders
    VALUE,  # log of 1 + amount paid in minor units
    ACTIVE_DAYS,  # log of 1 + days with an order
    ITEMS,  # log of 1 + distinct items bought
    CATEGORIES,  # log of 1 + their distinct categories
    BASKET_SIZE,  # log of 1 + mean distinct items of an order
    IRREGULARITY,  # standard deviation over mean of the gaps between active days
    BROWSING_RECENCY,  # log of 1 + days since something was looked at, tapped or put into the cart without being bought
)


class Considered(msgspec.Struct, frozen=True, kw_only=True):
    """One number of segments that was tried."""

    count: int
    silhouette: float  # from -1 to 1, higher is better (Rousseeuw 1987)
    davies_bouldin: float  # from 0, lower is better (Davies and Bouldin 1979)
    smallest: int  # people of the smallest segment


class SegmentDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """Segments by their centres: a person belongs to the nearest. Code 0 is unknown, codes from 1 follow `names`."""

    method: Method
    window_hours: int  # what is older than this says nothing
    features: tuple[str, ...]  # of FEATURES, those in which people differ
    mean: tuple[float, ...]  # of each feature, over the people fitted on
    deviation: tuple[float, ...]
    centres: tuple[tuple[float, ...], ...]  # [segments][features], standardised
    names: tuple[str, ...]  # of the segments, the most valuable first
    people: tuple[int, ...] = ()  # fitted on, in each segment
    considered: tuple[Considered, ...] = ()  # empty where the number was given
    silhouette: float | None = None  # of these segments, over the features; None for a single one
    davies_bouldin: float | None = None
    agreement: float = 1.0  # share of people whose nearest centre is the segment that the method itself gave them


class Purchases(msgspec.Struct, frozen=True):
    """A person's kept orders inside the window, and when they last browsed."""

    order_hours: tuple[int, ...]  # hours since 1970, one per order
    amount: int  # minor units
    lines: int  # distinct items of every order, added up
    items: frozenset[str]
    browsed_hour: int | None = None


def purchases_of(summary: Summary, now_hour: int, window_hours: int) -> Purchases | None:
    """What a summary holds of a window.

    Lines that were given back are no purchases. Purchases without an order number are known by each item's last event
    only: those of one hour count as one order, without an amount.

    Args:
        summary: a person's.
        now_hour: hours since 1970.
        window_hours: how far back to look.

    Returns:
        None for who neither bought nor browsed, at any time.
    """
    orders: dict[object, tuple[int, set[str]]] = {}
    amount, known, browsed = 0, False, None
    first = now_hour - window_hours
    for order, lines in summary.orders.items():
        for item, line in lines.items():
            if line.quantity and not line.refunded:
                known = True
                if line.hour > first:
                    hour, bought = orders.get(order, (line.hour, set()))
                    orders[order] = (max(hour, line.hour), bought | {item})
                    amount += line.amount
    for item, activity in summary.items.items():
        known = True
        if activity.last_hour <= first:
            continue
        if activity.event == EVENT_CODES[EventType.PURCHASE]:
            hour, bought = orders.get(activity.last_hour, (activity.last_hour, set()))
            orders[activity.last_hour] = (hour, bought | {item})
        else:
            browsed = max(browsed or activity.last_hour, activity.last_hour)
    if not known:
        return None
    return Purchases(
        order_hours=tuple(sorted(hour for hour, _ in orders.values())),
        amount=amount,
        lines=sum(len(bought) for _, bought in orders.values()),
        items=frozenset(item for _, bought in orders.values() for item in bought),
        browsed_hour=browsed,
    )


def features_of(
    purchases: Purchases, now_hour: int, window_hours: int, category: Callable[[str], str]
) -> dict[str, float]:
    """All of `FEATURES` of one person.

    Args:
        purchases: of the window.
        now_hour: hours since 1970.
        window_hours: as the purchases were taken.
        category: of an item.
    """
    orders = len(purchases.order_hours)
    days = sorted({hour // HOURS_PER_DAY for hour in purchases.order_hours})

    def log_days_since(hour: int | None) -> float:
        hours = window_hours if hour is None else min(max(now_hour - hour, 0), window_hours)
        return math.log1p(hours / HOURS_PER_DAY)

    return {
        RECENCY: log_days_since(max(purchases.order_hours, default=None)),
        FREQUENCY: math.log1p(orders),
        VALUE: math.log1p(max(purchases.amount, 0)),
        ACTIVE_DAYS: math.log1p(len(days)),
        ITEMS: math.log1p(len(purchases.items)),
        CATEGORIES: math.log1p(len({category(item) for item in purchases.items})),
        BASKET_SIZE: math.log1p(purchases.lines / orders if orders else 0.0),
        IRREGULARITY: irregularity(days),
        BROWSING_RECENCY: log_days_since(purchases.browsed_hour),
    }


def irregularity(days: list[int]) -> float:
    """Coefficient of variation of the gaps between increasing days; neutral where there are fewer than two gaps."""
    gaps = [later - earlier for earlier, later in pairwise(days)]
    if len(gaps) < 2:
        return NEUTRAL_IRREGULARITY
    mean = sum(gaps) / len(gaps)
    return math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) / mean


def segment_of(definition: SegmentDefinition, features: Mapping[str, float]) -> int:
    """Code of the segment whose centre is nearest, the lower one of two as near; 0 where nothing is defined."""
    scaled = [
        (features[name] - mean) / deviation
        for name, mean, deviation in zip(definition.features, definition.mean, definition.deviation, strict=True)
    ]
    distances = [
        sum((value - middle) ** 2 for value, middle in zip(scaled, centre, strict=True))
        for centre in definition.centres
    ]
    return distances.index(min(distances)) + 1 if distances else 0


def segment_of_summary(
    definition: SegmentDefinition, summary: Summary, now_hour: int, category: Callable[[str], str]
) -> int:
    """Code of a person's segment, 0 for who neither bought nor browsed.

    Args:
        definition: of the segments.
        summary: of the person.
        now_hour: hours since 1970.
        category: of an item.
    """
    purchases = purchases_of(summary, now_hour, definition.window_hours)
    if purchases is None:
        return 0
    return segment_of(definition, features_of(purchases, now_hour, definition.window_hours, category))
