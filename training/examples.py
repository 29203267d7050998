"""Training examples: histories just before baskets, and the baskets' items, told apart by whether they are new."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from contracts.errors import DataError
from training.cases import basket_lines
from training.context import context_of
from training.histories import HOURS_OF_WEEK, Histories, histories_of
from training.prepared import Prepared
from training.segments import Segments

WARM_UP_WEEKS = 8  # of a person's first weeks nearly everything is new, which later weeks are not like


@dataclass(frozen=True)
class Batch:
    """Some examples, their targets flat."""

    histories: Histories  # [B]
    example: NDArray[np.int64]  # [T] to which example a target belongs
    target: NDArray[np.int64]  # [T] item
    place: NDArray[np.int64]  # [T] where in the history it stands, -1 if nowhere: a new item
    share: NDArray[np.float32]  # [T] of the example's targets, by what their events weigh; sums to 1


@dataclass(frozen=True)
class Examples:
    """n baskets with the history before each; see `draw_baskets` for how people count."""

    prepared: Prepared
    baskets: NDArray[np.int64]  # [n]
    histories: Histories  # [n]

    def __len__(self) -> int:
        return len(self.baskets)

    def weights(self) -> sp.csr_matrix:
        """float32 [n, items + 1]: the histories' fading counts."""
        present = self.histories.items > 0
        rows = np.repeat(np.arange(len(self)), present.sum(1))
        flat = (self.histories.counts[present], (rows, self.histories.items[present]))
        return sp.csr_matrix(flat, shape=(len(self), len(self.prepared.items.item_id)))

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        lines = basket_lines(self.prepared, self.baskets[rows], targets_only=True)
        example, target = lines.row, lines.item.astype(np.int64)
        share = lines.weight / np.bincount(example, lines.weight, len(rows))[example]
        histories = self.histories[rows]
        same = histories.items[example] == target[:, None]
        place = np.where(same.any(1), same.argmax(1), -1)
        return Batch(histories, example, target, place, share.astype(np.float32))


def examples_of(prepared: Prepared, baskets: NDArray[np.int64], length: int, segments: Segments) -> Examples:
    """Examples of some baskets.

    Args:
        prepared: the log.
        baskets: int64 [n], increasing.
        length: L.
        segments: of the people.
    """
    return Examples(prepared, baskets, histories_of(prepared, baskets, length, context_of(prepared, baskets, segments)))


def draw_baskets(prepared: Prepared, split: int, most: int, seed: int) -> NDArray[np.int64]:
    """Baskets to learn from, increasing: central ones with a target and something before them, people weighted alike.

    Args:
        prepared: the log.
        split: training (after the log's first weeks) or validation baskets.
        most: how many to draw without repetition; all if there are fewer.
        seed: of the draw.

    Raises:
        DataError: if there is no such basket.
    """
    central = ~prepared.is_phone[prepared.basket_person]
    baskets = np.flatnonzero(central & (prepared.basket_split == split) & prepared.has_target).astype(np.int64)
    warm = prepared.basket_hour[baskets] >= prepared.basket_hour.min() + WARM_UP_WEEKS * HOURS_OF_WEEK
    later = baskets > prepared.person_start[prepared.basket_person[baskets]]
    chosen = baskets[warm & later] if (warm & later).any() else baskets[later]
    if not len(chosen):
        raise DataError(
            "nothing to learn from: no training basket has an earlier one; it takes people with two or more baskets"
        )
    return draw_alike(prepared, chosen, most, seed)


def draw_alike(prepared: Prepared, baskets: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Up to `most` of some baskets, increasing, without repetition: people weigh alike, whatever they have of them."""
    if len(baskets) <= most:
        return baskets
    person = prepared.basket_person[baskets]
    chance = 1.0 / np.bincount(person)[person]
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(baskets, most, replace=False, p=chance / chance.sum()))
