"""Training examples: histories just before baskets, with the baskets' items told apart by whether they were bought before."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.baselines.baseline import training_baskets
from training.histories import Histories, histories_of
from training.prepared import Prepared

WARM_UP_WEEKS = 8  # of a person's first weeks nearly everything is new, which later weeks are not like
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Batch:
    """Some examples, their targets flat."""

    histories: Histories  # [B]
    example: NDArray[np.int64]  # [T] to which example a target belongs
    target: NDArray[np.int64]  # [T] item
    place: NDArray[np.int64]  # [T] where in the history it stands, -1 if nowhere: a new item
    share: NDArray[np.float32]  # [T] 1 / number of the example's targets


@dataclass(frozen=True)
class Examples:
    """n baskets with the history before each."""

    prepared: Prepared
    baskets: NDArray[np.int64]  # [n]
    histories: Histories  # [n]
    chance: NDArray[np.float64]  # [n] of being drawn: every person counts the same, as in the evaluation

    def __len__(self) -> int:
        return len(self.baskets)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        start, item = self.prepared.basket_start, self.prepared.events.item
        baskets = self.baskets[rows]
        sizes = start[baskets + 1] - start[baskets]
        example = np.repeat(np.arange(len(rows)), sizes)
        within = np.arange(len(example)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        target = item[np.repeat(start[baskets], sizes) + within].astype(np.int64)
        histories = self.histories[rows]
        same = histories.items[example] == target[:, None]
        place = np.where(same.any(1), same.argmax(1), -1)
        return Batch(histories, example, target, place, (1.0 / sizes)[example].astype(np.float32))


def examples_of(prepared: Prepared, baskets: NDArray[np.int64], length: int, context: NDArray[np.int32]) -> Examples:
    """Examples of some baskets, people weighted alike.

    Args:
        prepared: the log.
        baskets: int64 [n], increasing.
        length: L.
        context: int32 [n, C].
    """
    histories = histories_of(prepared, baskets, length, context)
    person = prepared.basket_person[baskets]
    chance = 1.0 / np.bincount(person)[person]
    return Examples(prepared, baskets, histories, chance / chance.sum())


def training_examples_baskets(prepared: Prepared) -> NDArray[np.int64]:
    """Central training baskets after the log's first weeks that have something before them, increasing."""
    baskets = training_baskets(prepared)
    warm = prepared.basket_hour[baskets] >= prepared.basket_hour.min() + WARM_UP_WEEKS * 168
    later = baskets > prepared.person_start[prepared.basket_person[baskets]]
    chosen = baskets[warm & later]
    return chosen if len(chosen) else baskets[later]
