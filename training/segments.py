"""Segments of people: k-means over recency, frequency and monetary value, fitted on central people only.

Source: RFM as in Hughes 1994, log-scaled and standardised; k-means++ (Arthur and Vassilvitskii 2007) of scikit-learn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.events import EVENT_CODES, EventType
from contracts.summary import HOUR_MS
from training.prepared import Prepared
from training.split import TRAIN

SEGMENTS = 5
HOURS_PER_DAY = 24.0


@dataclass(frozen=True)
class Segments:
    """Code 0 is unknown; the others are ordered by value, the most valuable first."""

    names: tuple[str, ...]  # of the codes from 1
    person: NDArray[np.int32]  # [people] code of each person


def rfm(prepared: Prepared) -> NDArray[np.float64]:
    """What is known of people at the end of the training weeks.

    Returns:
        float64 [people, 3]: log days since the last basket, log baskets, log amount paid; NaN without a basket.
    """
    train = prepared.basket_split == TRAIN
    people = len(prepared.pseudonym)
    person, hour = prepared.basket_person[train], prepared.basket_hour[train]
    paid = np.where(prepared.events.event == EVENT_CODES[EventType.PURCHASE], prepared.events.amount, 0)
    amount = np.add.reduceat(paid, prepared.basket_start[:-1])[train]
    last = np.full(people, -1, np.int64)
    np.maximum.at(last, person, hour)
    baskets = np.bincount(person, minlength=people).astype(np.float64)
    spent = np.bincount(person, amount, minlength=people)
    days = (prepared.record.train_end_ms // HOUR_MS - last) / HOURS_PER_DAY
    found = np.log1p(np.stack([days, baskets, spent], axis=1))
    found[baskets == 0] = np.nan
    return found


def fit_segments(prepared: Prepared, seed: int) -> Segments:
    """Fit on people who are not phones, then give every person, phones too, the nearest centre."""
    from sklearn.cluster import KMeans

    values = rfm(prepared)
    known = ~np.isnan(values).any(1)
    central = known & ~prepared.is_phone
    mean, deviation = values[central].mean(0), np.maximum(values[central].std(0), 1e-9)
    scaled = (values - mean) / deviation
    count = min(SEGMENTS, len(np.unique(scaled[central], axis=0)))
    model = KMeans(count, n_init=4, random_state=seed).fit(scaled[central])
    order = np.argsort(-model.cluster_centers_[:, 2], kind="stable")
    rank = np.empty(count, np.int32)
    rank[order] = np.arange(1, count + 1)
    person = np.zeros(len(values), np.int32)
    person[known] = rank[model.predict(scaled[known])]
    return Segments(tuple(f"value_{number}" for number in range(1, count + 1)), person)
