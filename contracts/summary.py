"""A person's history as a monoid: the one definition of what a profile holds and what the device model reads.

`Summary` is what one owner's events add up to. Everything in it is an integer and every field is combined by an
operation that is commutative and associative, so any order, chunking and grouping of the same events gives the same
summary, and a person is the merge of their owners' summaries. Purchases with an order number are kept per
order line and joined by maximum: the same order seen by a phone and a till counts once.

Counts fade with a half-life. Fading by subtraction would depend on when it is done; forward decay (Cormode, Shkapenyuk,
Srivastava and Xu, ICDE 2009) instead lets newer events weigh more, as an exact integer, and scales on read. Weights
that double for ever outgrow any integer; so they start again in every era, and an activity has one sum for each.
"""

from collections.abc import Callable, Iterable
from decimal import Decimal, localcontext
from operator import add

import msgspec

from contracts.events import EVENT_CODES, Event, EventType

HOUR_MS = 3_600_000
HALF_LIFE_HOURS = 120 * 24  # the half-life with which a household's own frequency predicts its next basket best
ERA_HALF_LIVES = 8
ERA_HOURS = ERA_HALF_LIVES * HALF_LIFE_HOURS  # some 2.6 years; eras are counted from 1970
UNIT = 2**20  # the weight of one purchase at the begin of an era; at its end 2**28, so that 64 bits hold 2**35 of them

TYPE_SHARE: dict[EventType, int] = {  # weight of one event in 1/64 of a purchase
    EventType.IMPRESSION: 0,
    EventType.RECOMMENDATION_SHOWN: 0,
    EventType.SEARCH: 1,
    EventType.REMOVE_FROM_CART: 0,
    EventType.VIEW: 2,
    EventType.RECOMMENDATION_TAPPED: 4,
    EventType.ADD_TO_CART: 16,
    EventType.REFUND: 0,
    EventType.PURCHASE: 64,
}


def _octave() -> tuple[int, ...]:
    """round(UNIT * 2 ** (h / HALF_LIFE_HOURS)) for every hour of one half-life, exact on every platform."""
    with localcontext() as context:
        context.prec = 40
        step = (Decimal(2).ln() / HALF_LIFE_HOURS).exp()
        value, table = Decimal(UNIT), []
        for _ in range(HALF_LIFE_HOURS):
            table.append(int(value.to_integral_value()))
            value *= step
    return tuple(table)


_OCTAVE = _octave()


Weights = tuple[tuple[int, int], ...]  # (era, weight), eras increasing


def era_of(hour: int) -> int:
    return hour // ERA_HOURS


def weight_at(hour: int) -> int:
    """The forward-decay weight of one purchase in an hour (hours since 1970), exact, in units of the hour's era."""
    octaves, rest = divmod(hour % ERA_HOURS, HALF_LIFE_HOURS)
    return _OCTAVE[rest] << octaves


def weights_at(hour: int) -> Weights:
    """One purchase in an hour (hours since 1970)."""
    return ((era_of(hour), weight_at(hour)),)


def weigh(weights: Weights, era: int) -> int:
    """Weights of several eras as one exact integer, in units of an era that is later than none of them."""
    return sum(weight << ERA_HALF_LIVES * (own - era) for own, weight in weights)


def fading_count(weights: Weights, now_hour: int) -> float:
    """Weights of several eras in purchases made now (hours since 1970): each purchase fades with HALF_LIFE_HOURS."""
    now = weights_at(now_hour)
    first = min(era for era, _ in weights + now)
    return weigh(weights, first) / weigh(now, first)


class Activity(msgspec.Struct, frozen=True, array_like=True):
    """What one owner did with one item, purchases with an order number left aside."""

    weights: Weights  # sums of weight_at(hour) * TYPE_SHARE / 64
    last_hour: int  # hours since 1970 of the latest event
    event: int  # EVENT_CODES of the strongest event

    def __or__(self, other: "Activity") -> "Activity":
        return Activity(
            _added(self.weights, other.weights),
            max(self.last_hour, other.last_hour),
            max(self.event, other.event),
        )


class OrderLine(msgspec.Struct, frozen=True, array_like=True):
    """One item of one order; the same line from two channels is joined field by field by maximum."""

    hour: int  # hours since 1970
    quantity: int
    amount: int  # minor units, for the whole line
    refunded: bool = False

    def __or__(self, other: "OrderLine") -> "OrderLine":
        return OrderLine(
            max(self.hour, other.hour),
            max(self.quantity, other.quantity),
            max(self.amount, other.amount),
            self.refunded or other.refunded,
        )


class Summary(msgspec.Struct, frozen=True):
    """What a disjoint set of events adds up to."""

    items: dict[str, Activity] = {}
    orders: dict[str, dict[str, OrderLine]] = {}  # order number -> item -> line

    def __or__(self, other: "Summary") -> "Summary":
        return merge(self, other)


EMPTY = Summary()


def _join(left: dict, right: dict, combine: Callable) -> dict:
    if not left or not right:
        return left or right
    joined = dict(left)
    for key, value in right.items():
        joined[key] = combine(joined[key], value) if key in joined else value
    return joined


def _added(left: Weights, right: Weights) -> Weights:
    if len(left) == len(right) == 1 and left[0][0] == right[0][0]:  # of one era, as nearly all are
        return ((left[0][0], left[0][1] + right[0][1]),)
    return tuple(sorted(_join(dict(left), dict(right), add).items()))


def merge(left: Summary, right: Summary) -> Summary:
    """Summary of the union of two disjoint sets of events: commutative, associative, `EMPTY` is neutral."""
    return Summary(
        items=_join(left.items, right.items, lambda a, b: a | b),
        orders=_join(left.orders, right.orders, lambda a, b: _join(a, b, lambda x, y: x | y)),
    )


def summary_of(event: Event, hour: int) -> Summary:
    """Summary of one event.

    Args:
        event: the event.
        hour: when it happened in hours since 1970, as fixed at its first acceptance.
    """
    if event.item_id is None:
        return EMPTY
    if event.order_id is not None and event.type in (EventType.PURCHASE, EventType.REFUND):
        bought = event.type == EventType.PURCHASE
        amount = event.price.amount * event.quantity if event.price and bought else 0
        line = OrderLine(hour, event.quantity if bought else 0, amount, refunded=not bought)
        return Summary(orders={event.order_id: {event.item_id: line}})
    if not TYPE_SHARE[event.type]:  # being shown something is no sign of interest, nor is taking it out of the cart
        return EMPTY
    weight = weight_at(hour) * TYPE_SHARE[event.type] // 64
    return Summary(items={event.item_id: Activity(((era_of(hour), weight),), hour, EVENT_CODES[event.type])})


def summarize(events: Iterable[tuple[Event, int]]) -> Summary:
    """Summary of distinct events, each with its hour since 1970: all of `summary_of` merged, in linear time."""
    items: dict[str, Activity] = {}
    orders: dict[str, dict[str, OrderLine]] = {}
    for event, hour in events:
        one = summary_of(event, hour)
        for item, activity in one.items.items():
            items[item] = items[item] | activity if item in items else activity
        for order, lines in one.orders.items():
            held = orders.setdefault(order, {})
            for item, line in lines.items():
                held[item] = held[item] | line if item in held else line
    return Summary(items=items, orders=orders)


class History(msgspec.Struct, frozen=True):
    """What the device model reads: distinct items, most recent last, without padding."""

    items: tuple[int, ...]  # dense catalogue indices, from 1
    events: tuple[int, ...]  # EVENT_CODES
    counts: tuple[float, ...]  # purchases, each fading with HALF_LIFE_HOURS
    ages: tuple[float, ...]  # hours since the item's last event, at least 0


def item_activities(summary: Summary) -> dict[str, Activity]:
    """Activity per item, order lines folded in: a refunded line weighs nothing, but was a purchase."""
    folded = dict(summary.items)
    purchase = EVENT_CODES[EventType.PURCHASE]
    for lines in summary.orders.values():
        for item, line in lines.items():
            kept = line.quantity and not line.refunded
            activity = Activity(weights_at(line.hour) if kept else (), line.hour, purchase)
            folded[item] = folded[item] | activity if item in folded else activity
    return folded


def history_of(summary: Summary, now_hour: int, length: int, index: Callable[[str], int]) -> History:
    """The device model's input at a moment.

    The `length` items of greatest weight are kept (an item bought once yesterday outweighs one bought once last
    spring, and one bought weekly outweighs both), then put in order of time.

    Args:
        summary: a person's summary.
        now_hour: hours since 1970.
        length: the model's L.
        index: item id -> dense catalogue index, 0 where the catalogue lacks the item.
    """
    known = [(index(item), activity) for item, activity in item_activities(summary).items() if activity.weights]
    first = min((era for _, activity in known for era, _ in activity.weights), default=0)
    ranked = sorted(
        ((number, weigh(activity.weights, first), activity) for number, activity in known if number),
        key=lambda entry: (-entry[1], -entry[2].last_hour, entry[0]),
    )[:length]
    ranked.sort(key=lambda entry: (entry[2].last_hour, entry[1], -entry[0]))
    return History(
        items=tuple(number for number, _, _ in ranked),
        events=tuple(activity.event for _, _, activity in ranked),
        counts=tuple(fading_count(activity.weights, now_hour) for _, _, activity in ranked),
        ages=tuple(float(max(now_hour - activity.last_hour, 0)) for _, _, activity in ranked),
    )
