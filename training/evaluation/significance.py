"""Whether two models differ by more than chance: a paired randomization test over people.

If two models were alike, each person's difference could as well have the other sign. The p-value is the share of sign
flips that give a mean difference at least as large as the measured one, in either direction (Fisher 1935; for
retrieval metrics Smucker, Allan and Carterette, CIKM 2007).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from contracts.bundle import Estimate
from training.evaluation.intervals import estimates

FLIPS = 10_000
EXACT_PEOPLE = 13  # up to which all 2 ** people flips are tried
CHUNK = 500  # flips at once
ROUNDING = 1e-9  # relative: flips that only the order of a sum makes smaller than the measured difference count


@dataclass(frozen=True)
class Difference:
    """A model's metric minus another's, paired over people."""

    model: str
    other: str
    difference: Estimate  # of the means
    p_value: float  # of no difference, two-sided, not corrected for the number of pairs


def p_values(differences: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Two-sided p-values of sign flips; 1 over nobody.

    Args:
        differences: float64 [pairs, people]; NaN where a person lacks one of the two.
        seed: of the flips, which all pairs share.

    Returns:
        float64 [pairs], (1 + flips as large) / (1 + flips); exact for few people.
    """
    people = differences.shape[1]
    signed = np.nan_to_num(differences)  # who lacks a difference adds none under any sign
    measured = np.abs(signed.sum(1)) * (1 - ROUNDING)
    if people <= EXACT_PEOPLE:
        signs = 1.0 - 2.0 * ((np.arange(2**people)[:, None] >> np.arange(people)) & 1)
        return (np.abs(signs @ signed.T) >= measured).mean(0)
    rng = np.random.default_rng(seed)
    larger = np.ones(len(differences))
    for first in range(0, FLIPS, CHUNK):
        signs = 1.0 - 2.0 * rng.integers(0, 2, (min(CHUNK, FLIPS - first), people))
        larger += (np.abs(signs @ signed.T) >= measured).sum(0)
    return larger / (1 + FLIPS)


def compare_all(values: Mapping[str, NDArray[np.float64]], seed: int) -> list[Difference]:
    """Every pair of models.

    Args:
        values: model -> float64 [people], the metric of each person, NaN for people without it.
        seed: of draws and flips.
    """
    pairs = list(combinations(values, 2))
    if not pairs:
        return []
    differences = np.stack([values[one] - values[other] for one, other in pairs])
    intervals = estimates(list(differences), seed)
    return [
        Difference(one, other, interval, float(p_value))
        for (one, other), interval, p_value in zip(pairs, intervals, p_values(differences, seed), strict=True)
    ]
