"""Quality of a ranking of the whole catalogue: averaged within a person, then over people; no sampled metrics.

NDCG with binary gains and the ideal over min(10, targets): Jarvelin and Kekalainen 2002. Intervals resample people
(Efron and Tibshirani 1993, percentile bootstrap); two models are compared on the same resamples of the same people.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from contracts.bundle import Estimate
from training.cases import Cases

CUTOFF = 10
RESAMPLES = 2000
BATCH = 512
_DISCOUNT = 1.0 / np.log2(np.arange(2, CUTOFF + 2))
_IDEAL = np.cumsum(_DISCOUNT)

Score = Callable[[NDArray[np.int64]], NDArray[np.float32] | torch.Tensor]
"""Rows of the cases -> float32 [rows, items + 1], the score of every item."""


@dataclass(frozen=True)
class PersonMetrics:
    """Each person's mean over their baskets; NaN for people without one."""

    ndcg: NDArray[np.float64]  # [people]
    recall: NDArray[np.float64]  # [people]
    new_ndcg: NDArray[np.float64]  # [people], everything ever bought masked


@dataclass(frozen=True)
class Quality:
    ndcg_at_10: Estimate
    recall_at_10: Estimate
    new_items_ndcg_at_10: Estimate


def top_items(scores: NDArray[np.float32] | torch.Tensor) -> NDArray[np.int64]:
    """int64 [n, CUTOFF]: the best items of each row, padding never among them."""
    scores = torch.as_tensor(scores)
    return (scores[:, 1:].topk(min(CUTOFF, scores.shape[1] - 1), dim=1).indices + 1).numpy()


def gains(top: NDArray[np.integer], cases: Cases, rows: NDArray[np.int64], new_only: bool) -> NDArray[np.float64]:
    """NDCG and recall at 10 of some cases.

    Args:
        top: int [n, up to CUTOFF], best first, 0 where nothing is left to recommend.
        cases: the task.
        rows: int64 [n], which cases.
        new_only: only targets the person never bought count.

    Returns:
        float64 [2, n]: NDCG, recall; NaN where the case has no target.
    """
    targets = cases.targets[rows].toarray() > 0
    if new_only:
        seen = cases.weights[rows].tocoo()
        targets[seen.row, seen.col] = False
    targets[:, 0] = False
    hits = np.take_along_axis(targets, top.astype(np.int64), axis=1)
    wanted = targets.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = hits.sum(1) / np.where(wanted, wanted, np.nan)
    return np.stack([ndcg_of_hits(hits, wanted), recall])


def ndcg_of_hits(hits: NDArray[np.bool_], wanted: NDArray[np.integer]) -> NDArray[np.float64]:
    """NDCG at 10 of rankings whose hits are known.

    Args:
        hits: bool [n, up to CUTOFF], best first.
        wanted: int [n], number of targets.

    Returns:
        float64 [n], NaN where nothing was wanted.
    """
    possible = np.minimum(wanted, CUTOFF)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (hits * _DISCOUNT[: hits.shape[1]]).sum(1) / np.where(possible, _IDEAL[possible - 1], np.nan)


def by_person(values: NDArray[np.float64], person: NDArray[np.int32], people: int) -> NDArray[np.float64]:
    """float64 [people]: mean of the cases that count, NaN for people without one."""
    counted = ~np.isnan(values)
    total = np.bincount(person[counted], values[counted], minlength=people)
    number = np.bincount(person[counted], minlength=people)
    return np.where(number, total / np.maximum(number, 1), np.nan)


def evaluate(
    score: Score, cases: Cases, people: int, progress: Callable[[int, int], None] | None = None
) -> PersonMetrics:
    """Score every case and average within people."""
    found = np.full((3, len(cases)), np.nan)
    for first in range(0, len(cases), BATCH):
        rows = np.arange(first, min(first + BATCH, len(cases)))
        scores = torch.as_tensor(score(rows))
        found[:2, rows] = gains(top_items(scores), cases, rows, new_only=False)
        seen = cases.weights[rows].tocoo()
        scores = scores.clone()
        scores[torch.from_numpy(seen.row.astype(np.int64)), torch.from_numpy(seen.col.astype(np.int64))] = -torch.inf
        found[2, rows] = gains(top_items(scores), cases, rows, new_only=True)[0]
        if progress:
            progress(len(rows), len(cases))
    return PersonMetrics(*(by_person(values, cases.person, people) for values in found))


def _resampled(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Means of people drawn with replacement; the same people for the same seed and count.

    Args:
        values: float64 [..., people], at least one person.
        seed: of the draws.

    Returns:
        float64 [RESAMPLES, ...].
    """
    rng = np.random.default_rng(seed)
    people = values.shape[-1]
    chance = np.full(people, 1.0 / people)
    return np.stack([values @ rng.multinomial(people, chance) for _ in range(RESAMPLES)]) / people


def estimate(values: NDArray[np.float64], seed: int) -> Estimate:
    """Mean over people with its 95 % bootstrap interval; zero over nobody."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Estimate(0.0, 0.0, 0.0)
    low, high = np.quantile(_resampled(values, seed), [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


def relative_difference(values: NDArray[np.float64], reference: NDArray[np.float64], seed: int) -> Estimate:
    """mean(values) / mean(reference) - 1 over the people both have, with its 95 % paired bootstrap interval.

    Equal means differ by zero, also where both are zero; zero over nobody.
    """
    both = ~(np.isnan(values) | np.isnan(reference))
    if not both.any():
        return Estimate(0.0, 0.0, 0.0)
    pair = np.stack([values[both], reference[both]])
    means = np.concatenate([pair.mean(1)[None], _resampled(pair, seed)])
    differences = (means[:, 0] - means[:, 1]) / np.maximum(means[:, 1], 1e-12)
    low, high = np.quantile(differences[1:], [0.025, 0.975])
    return Estimate(float(differences[0]), float(low), float(high))


def quality(metrics: PersonMetrics, seed: int) -> Quality:
    return Quality(estimate(metrics.ndcg, seed), estimate(metrics.recall, seed), estimate(metrics.new_ndcg, seed))
