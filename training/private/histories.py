"""Histories drawn from a private teacher: all that a device model is distilled from.

A drawn person starts with nothing, buys what the teacher expects of such a history, and goes on so. How many baskets
there are, how large and how far apart, are constants written here, not anybody's: with a teacher that was charged, what
is drawn from it costs nothing more.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from contracts.bundle import WISHES
from contracts.events import EVENT_CODES, EventType
from contracts.summary import HALF_LIFE_HOURS
from training.histories import HOURS_OF_WEEK, Histories, hour_of_week
from training.private.teacher import BATCH, PrivateTeacher

CONTEXT_COLUMNS = 4  # hour of the week, device class, segment, wish


@dataclass(frozen=True)
class DrawRecipe:
    """Public constants of drawn people."""

    people: int = 800
    baskets: int = 40  # of each, the first of which has nothing before it and is no example
    basket_items: int = 12  # at most; sizes are uniform
    gap_hours: float = 120.0  # mean time between baskets, exponential


@dataclass(frozen=True)
class DrawnHistories:
    """n histories and the baskets that the teacher drew after them."""

    histories: Histories  # [n]
    targets: NDArray[np.int32]  # [n, T] distinct items, then padding 0

    def __len__(self) -> int:
        return len(self.targets)


def histories_at(
    items: NDArray[np.integer], hours: NDArray[np.integer], now: NDArray[np.integer], length: int
) -> Histories:
    """What the device model reads of purchases: the heaviest distinct items in order of time.

    Args:
        items: int [n, m], 0 is padding.
        hours: int [n, m], when each was bought, never after `now`.
        now: int [n].
        length: L.

    Returns:
        Histories without context; see `contracts.summary.history_of` for the definition.
    """
    shape = (len(items), length)
    found, counts, ages = np.zeros(shape, np.int32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for row in range(len(items)):
        bought = items[row] > 0
        distinct, place = np.unique(items[row][bought], return_inverse=True)
        age = (now[row] - hours[row])[bought].astype(np.int64)
        weights = np.bincount(place, 2.0 ** (-age / HALF_LIFE_HOURS), len(distinct))
        last = np.full(len(distinct), np.iinfo(np.int64).max)
        np.minimum.at(last, place, age)
        heaviest = np.lexsort((distinct, last, -weights))[:length]
        kept = heaviest[np.lexsort((-distinct[heaviest], weights[heaviest], -last[heaviest]))]
        if len(kept):
            tail = slice(length - len(kept), None)
            found[row, tail], counts[row, tail], ages[row, tail] = distinct[kept], weights[kept], last[kept]
    events = np.where(found > 0, EVENT_CODES[EventType.PURCHASE], 0).astype(np.int32)
    return Histories(found, events, counts, ages, np.zeros((len(items), 0), np.int32))


def draw_histories(
    teacher: PrivateTeacher, length: int, recipe: DrawRecipe, seed: int, progress: Callable[[int, int], None]
) -> DrawnHistories:
    """Let the teacher live some people's lives.

    Args:
        teacher: private.
        length: L of the histories.
        recipe: how many people and baskets.
        seed: of all draws: nothing secret is left to protect.
        progress: called with baskets done and all baskets.
    """
    rng = np.random.default_rng(seed)
    size = min(recipe.basket_items, teacher.items - 1)
    shape = (recipe.people, recipe.baskets, size)
    items, hours = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    now = rng.integers(0, HOURS_OF_WEEK, recipe.people)
    seen, targets = [], []
    for basket in range(recipe.baskets):
        before = (recipe.people, basket * size)
        history = histories_at(items[:, :basket].reshape(before), hours[:, :basket].reshape(before), now, length)
        best = _draw_items(teacher, history, size, rng)
        taken = np.arange(size) < rng.integers(1, size + 1, recipe.people)[:, None]
        items[:, basket] = np.where(taken, best, 0)
        hours[:, basket] = now[:, None]
        if basket:
            seen.append(_with_context(history, now))
            targets.append(items[:, basket].astype(np.int32))
        now = now + np.ceil(rng.exponential(recipe.gap_hours, recipe.people)).astype(np.int64)
        progress(basket + 1, recipe.baskets)
    columns = (np.concatenate(column) for column in zip(*(vars(each).values() for each in seen), strict=True))
    return DrawnHistories(Histories(*columns), np.concatenate(targets))


def _draw_items(teacher: PrivateTeacher, history: Histories, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """int64 [n, size]: distinct items of each person's next basket; people in parts, as each scores all items."""
    drawn = []
    for first in range(0, len(history), BATCH):
        scores = teacher.scores(history[slice(first, first + BATCH)]).numpy()
        gumbel = -np.log(-np.log(rng.uniform(1e-12, 1.0, scores.shape)))  # the best of sums are draws of the softmax
        drawn.append(torch.from_numpy(scores + gumbel)[:, 1:].topk(size, dim=1).indices.numpy() + 1)
    return np.concatenate(drawn)


def _with_context(history: Histories, now: NDArray[np.integer]) -> Histories:
    """With the hour of the week, an unknown device class, no segment, and any wish."""
    context = np.zeros((len(history), CONTEXT_COLUMNS), np.int32)
    context[:, 0] = hour_of_week(now) + 1
    context[:, 3] = WISHES["anything"]
    return Histories(history.items, history.events, history.counts, history.ages, context)
