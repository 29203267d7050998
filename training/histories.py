"""Histories as the device model reads them, for many baskets at once.

The definition is `contracts.summary.history_of`; this is the same over arrays, and a test holds the two together.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.events import EVENT_CODES, EventType
from contracts.summary import ERA_HALF_LIVES, TYPE_SHARE, era_of, weight_at
from training.prepared import Prepared

HOURS_OF_WEEK = 168
MONDAY = 96  # hours since 1970 of a Monday, 00:00 UTC


@dataclass(frozen=True)
class Histories:
    """n inputs of the device model; padding comes first, the most recent item last."""

    items: NDArray[np.int32]  # [n, L] dense catalogue indices, 0 is padding
    events: NDArray[np.int32]  # [n, L] EVENT_CODES
    counts: NDArray[np.float32]  # [n, L] purchases, fading with HALF_LIFE_HOURS
    ages: NDArray[np.float32]  # [n, L] hours since the item's last event
    context: NDArray[np.int32]  # [n, C]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, rows: NDArray[np.integer] | slice) -> "Histories":
        return Histories(self.items[rows], self.events[rows], self.counts[rows], self.ages[rows], self.context[rows])

    def feeds(self) -> Iterator[dict[str, np.ndarray]]:
        """The inputs of `recommend`, one history at a time with a batch dimension of 1."""
        for row in range(len(self)):
            yield {
                name: getattr(self, name)[row : row + 1] for name in ("items", "events", "counts", "ages", "context")
            }


def hour_of_week(hours: NDArray[np.integer]) -> NDArray[np.int32]:
    """0 to 167 from hours since 1970, Monday 00:00 UTC first."""
    return ((np.asarray(hours, np.int64) - MONDAY) % HOURS_OF_WEEK).astype(np.int32)


@dataclass(frozen=True)
class Timeline:
    """One person's events before each of their baskets, with counts that fade."""

    items: NDArray[np.int32]  # [k] the person's distinct items
    weights: NDArray[np.float64]  # [k] counts at `hour`
    last_hour: NDArray[np.int64]  # [k] hours since 1970; only where weights > 0
    events: NDArray[np.int32]  # [k] strongest event so far
    basket: int
    hour: int


def _units(hour: int, oldest: int) -> float:
    """What an hour's era counts in, in units of the oldest era."""
    return 2.0 ** (ERA_HALF_LIVES * (era_of(hour) - oldest))


def timelines(prepared: Prepared, wanted: NDArray[np.bool_]) -> Iterator[Timeline]:
    """What each wanted basket's person had done strictly before it; another basket of the same moment is not before.

    Weights are summed as a summary sums them, whole numbers that float64 holds exactly over more than ten half-lives,
    so that items tie where they tie on a phone.

    Args:
        prepared: the log.
        wanted: bool [baskets].

    Yields:
        One `Timeline` per wanted basket, in order; its arrays are copies of items with a weight.
    """
    share = np.zeros(len(EVENT_CODES) + 1)
    for kind, code in EVENT_CODES.items():
        share[code] = TYPE_SHARE[EventType(kind)] / 64
    log, start, person_start = prepared.events, prepared.basket_start, prepared.person_start
    for person in np.unique(prepared.basket_person[wanted]):
        first, last = person_start[person], person_start[person + 1]
        rows = slice(start[first], start[last])
        items, local = np.unique(log.item[rows], return_inverse=True)
        codes = log.event[rows].astype(np.int32)
        weights, last_hour = np.zeros(len(items)), np.zeros(len(items), np.int64)
        strongest = np.zeros(len(items), np.int32)
        earlier, oldest = first, era_of(int(prepared.basket_hour[first]))
        for basket in first + np.flatnonzero(wanted[first:last]):
            while prepared.basket_time_ms[earlier] < prepared.basket_time_ms[basket]:
                within = slice(start[earlier] - start[first], start[earlier + 1] - start[first])
                hour = int(prepared.basket_hour[earlier])
                counted = np.floor(weight_at(hour) * share[codes[within]]) * _units(hour, oldest)
                touched = local[within][counted > 0]
                np.add.at(weights, touched, counted[counted > 0])
                last_hour[touched] = hour
                np.maximum.at(strongest, touched, codes[within][counted > 0])
                earlier += 1
            hour = int(prepared.basket_hour[basket])
            seen = np.flatnonzero(weights)
            counts = weights[seen] / (weight_at(hour) * _units(hour, oldest))
            yield Timeline(items[seen], counts, last_hour[seen], strongest[seen], int(basket), hour)


def histories_of(
    prepared: Prepared, baskets: NDArray[np.integer], length: int, context: NDArray[np.int32]
) -> Histories:
    """The device model's inputs just before each of some baskets.

    Args:
        prepared: the log.
        baskets: int [n], increasing basket numbers.
        length: L.
        context: int32 [n, C].
    """
    wanted = np.zeros(len(prepared.basket_start) - 1, bool)
    wanted[baskets] = True
    shape = (len(baskets), length)
    items, events = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    counts, ages = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for row, line in enumerate(timelines(prepared, wanted)):
        heaviest = np.lexsort((line.items, -line.last_hour, -line.weights))[:length]
        kept = heaviest[np.lexsort((-line.items[heaviest], line.weights[heaviest], line.last_hour[heaviest]))]
        if len(kept):
            tail = slice(length - len(kept), None)
            items[row, tail], events[row, tail] = line.items[kept], line.events[kept]
            counts[row, tail] = line.weights[kept]
            ages[row, tail] = line.hour - line.last_hour[kept]
    return Histories(items, events, counts, ages, context)
