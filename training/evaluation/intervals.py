"""Means over people with intervals: people are drawn with replacement, and two models share every draw.

Source: Efron and Tibshirani 1993, percentile bootstrap.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contracts.bundle import Estimate

RESAMPLES = 2000
INTERVAL = (0.025, 0.975)
NOBODY = Estimate(0.0, 0.0, 0.0)


def resampled(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
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
    return estimates([values], seed)[0]


def estimates(values: Sequence[NDArray[np.float64]], seed: int) -> list[Estimate]:
    """Each metric's `estimate`; metrics that the same people have share the draws, which is what takes time.

    Args:
        values: metrics, each float64 [people], NaN for people without it.
        seed: of the draws.
    """
    found = [NOBODY] * len(values)
    alike: dict[bytes, list[int]] = {}
    for at, each in enumerate(values):
        alike.setdefault(np.isnan(each).tobytes(), []).append(at)
    for places in alike.values():
        kept = ~np.isnan(values[places[0]])
        if kept.any():
            together = np.stack([values[at][kept] for at in places])
            low, high = np.quantile(resampled(together, seed), INTERVAL, axis=0)
            for row, at in enumerate(places):
                found[at] = Estimate(float(together[row].mean()), float(low[row]), float(high[row]))
    return found


def relative_difference(values: NDArray[np.float64], reference: NDArray[np.float64], seed: int) -> Estimate:
    """mean(values) / mean(reference) - 1 over the people both have, with its 95 % paired bootstrap interval.

    Equal means differ by zero, also where both are zero; zero over nobody.
    """
    both = ~(np.isnan(values) | np.isnan(reference))
    if not both.any():
        return NOBODY
    pair = np.stack([values[both], reference[both]])
    means = np.concatenate([pair.mean(1)[None], resampled(pair, seed)])
    differences = (means[:, 0] - means[:, 1]) / np.maximum(means[:, 1], 1e-12)
    low, high = np.quantile(differences[1:], INTERVAL)
    return Estimate(float(differences[0]), float(low), float(high))
