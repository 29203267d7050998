"""Training examples of a phone: its owner's own orders, each with what was known strictly before it."""

from collections.abc import Callable, Iterator

import msgspec

from contracts.summary import HOUR_MS, History, Summary, history_of


class Example(msgspec.Struct, frozen=True):
    """One order as the model should have foreseen it."""

    at_ms: int  # milliseconds since 1970, the start of the order's hour
    history: History
    targets: tuple[int, ...]  # catalogue indices, distinct


def examples_of(summary: Summary, length: int, index: Callable[[str], int]) -> Iterator[Example]:
    """Examples in order of time.

    Of an item's events that are no purchases with an order number only the sum and the last hour are known, so they are
    part of a history only if all of them came before it.

    Args:
        summary: what the phone knows about its owner.
        length: the model's L.
        index: item id -> dense catalogue index, 0 where the catalogue lacks it.
    """
    hours = {order: min(line.hour for line in lines.values()) for order, lines in summary.orders.items() if lines}
    for order, hour in sorted(hours.items(), key=lambda pair: (pair[1], pair[0])):
        before = Summary(
            items={item: activity for item, activity in summary.items.items() if activity.last_hour < hour},
            orders={
                other: lines
                for other, lines in summary.orders.items()
                if lines and max(line.hour for line in lines.values()) < hour
            },
        )
        history = history_of(before, hour, length, index)
        bought = (item for item, line in summary.orders[order].items() if line.quantity and not line.refunded)
        targets = sorted({number for item in bought if (number := index(item))})
        if history.items and targets:
            yield Example(hour * HOUR_MS, history, tuple(targets))
