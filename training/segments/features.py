"""What people are told apart by: `contracts.segments.FEATURES` of everybody at once, as arrays.

The definition is `contracts.segments.features_of`; a test holds the two together.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.events import EVENT_CODES, EventType
from contracts.segments import FEATURES, HOURS_PER_DAY, NEUTRAL_IRREGULARITY
from contracts.summary import HOUR_MS, TYPE_SHARE
from training.prepared import Prepared
from training.split import TRAIN

LONGEST_WINDOW_HOURS = 365 * HOURS_PER_DAY  # a year has every season once
_BOUGHT, _REFUNDED = EVENT_CODES[EventType.PURCHASE], EVENT_CODES[EventType.REFUND]
_BROWSED = [code for kind, code in EVENT_CODES.items() if TYPE_SHARE[kind] and code != _BOUGHT]


@dataclass(frozen=True)
class Features:
    """Of every person at the end of the training weeks."""

    values: NDArray[np.float64]  # [people, FEATURES]
    known: NDArray[np.bool_]  # [people] who bought or browsed in the training weeks
    window_hours: int


def features_of_people(prepared: Prepared, window_hours: int | None = None) -> Features:
    """Reckon the features from the training weeks.

    Args:
        prepared: the log.
        window_hours: how far back to look; by default as long as the training weeks of central people.
    """
    log, people = prepared.events, len(prepared.pseudonym)
    now = prepared.record.train_end_ms // HOUR_MS
    training = prepared.basket_split[log.basket] == TRAIN
    central_hours = log.hour[training & ~prepared.is_phone[log.person]]
    first = int(central_hours.min()) if len(central_hours) else now - 1
    window = window_hours or min(now - first + 1, LONGEST_WINDOW_HOURS)

    size = len(prepared.items.item_id)
    line = log.basket.astype(np.int64) * size + log.item
    kept = training & (log.event == _BOUGHT) & ~np.isin(line, line[log.event == _REFUNDED])
    browsed = training & np.isin(log.event, _BROWSED)
    known = np.zeros(people, bool)
    known[log.person[kept | browsed]] = True
    inside = log.hour > now - window
    kept, browsed = kept & inside, browsed & inside

    person = log.person[kept]
    orders = np.unique(log.basket[kept])
    order_person, order_hour = prepared.basket_person[orders], prepared.basket_hour[orders]
    frequency = np.bincount(order_person, minlength=people)
    amount = np.bincount(person, log.amount[kept], minlength=people)
    categories = np.unique(prepared.items.category, return_inverse=True)[1]
    lines = np.bincount(person, minlength=people)
    day_person, day = _distinct(order_person, order_hour // HOURS_PER_DAY)
    columns = (
        np.log1p(_days_since(order_person, order_hour, people, now, window)),
        np.log1p(frequency),
        np.log1p(np.maximum(amount, 0)),
        np.log1p(np.bincount(day_person, minlength=people)),
        np.log1p(np.bincount(_distinct(person, log.item[kept])[0], minlength=people)),
        np.log1p(np.bincount(_distinct(person, categories[log.item[kept]])[0], minlength=people)),
        np.log1p(lines / np.maximum(frequency, 1)),
        _irregularity(day_person, day, people),
        np.log1p(_days_since(log.person[browsed], log.hour[browsed], people, now, window)),
    )
    assert len(columns) == len(FEATURES)
    return Features(np.stack(columns, axis=1), known, int(window))


def _distinct(person: NDArray[np.integer], value: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct pairs, by person, then value."""
    base = int(value.max(initial=0)) + 1
    pairs = np.unique(person.astype(np.int64) * base + value)
    return pairs // base, pairs % base


def _days_since(
    person: NDArray[np.integer], hour: NDArray[np.integer], people: int, now: int, window: int
) -> NDArray[np.float64]:
    """float64 [people]: days since the latest hour, the window where there is none."""
    last = np.full(people, now - window, np.int64)
    np.maximum.at(last, person, hour)
    return np.maximum(now - last, 0) / HOURS_PER_DAY


def _irregularity(person: NDArray[np.int64], day: NDArray[np.int64], people: int) -> NDArray[np.float64]:
    """float64 [people]: coefficient of variation of the gaps between a person's days, given by person, then day."""
    same = person[1:] == person[:-1]
    gap, owner = np.diff(day)[same].astype(np.float64), person[1:][same]
    number = np.bincount(owner, minlength=people)
    mean = np.bincount(owner, gap, minlength=people) / np.maximum(number, 1)
    variance = np.bincount(owner, (gap - mean[owner]) ** 2, minlength=people) / np.maximum(number, 1)
    return np.where(number >= 2, np.sqrt(variance) / np.maximum(mean, 1.0), NEUTRAL_IRREGULARITY)
