"""Which trials are stopped early: successive halving, decided as trials come (Li et al. 2020, arXiv:1810.05934, ASHA).

Optuna prunes studies of one objective only. Here a trial is looked at after a quarter and after half of its own steps,
by one number: its gain in NDCG@10 over what the first trial, with the project's own settings, had reached by then,
paired over people and in units of its standard error, averaged over all items and new items. A gain on new items, which
few people have, then counts as much as is known of it. A trial goes on if it is among the better half of those that
came so far.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RUNGS = (0.25, 0.5)  # shares of a trial's steps
KEPT_SHARE = 0.5
LEAST_OTHERS = 3  # nothing is stopped before so many others were seen at the rung
LEAST_PAIRED = 2  # people, of whom a standard error can be told
SMALLEST_ERROR = 1e-9  # of differences that are all alike


def standardised_gain(values: NDArray[np.float64], current: NDArray[np.float64]) -> float:
    """Mean paired difference over people in units of its standard error; 0 where there is none or nobody to tell.

    Args:
        values: float64 [people], NaN for people without a value.
        current: float64 [people], of the first trial.
    """
    difference = (values - current)[~np.isnan(values - current)]
    if len(difference) < LEAST_PAIRED:
        return 0.0
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return float(difference.mean() / max(error, SMALLEST_ERROR))


def scalarised(values: Sequence[NDArray[np.float64]], current: Sequence[NDArray[np.float64]]) -> float:
    """Mean standardised gain over the objectives, each float64 [people]."""
    gains = [standardised_gain(each, own) for each, own in zip(values, current, strict=True)]
    return sum(gains) / len(gains)


def goes_on(score: float, others: Sequence[float]) -> bool:
    """Whether a trial with a score is among the better half, itself counted.

    Args:
        score: higher is better.
        others: scores of all earlier trials at the same rung.
    """
    if len(others) < LEAST_OTHERS:
        return True
    better = sum(other > score for other in others)
    return better < KEPT_SHARE * (len(others) + 1)
