"""From what phones handed back to one noised average: pure functions over flat adapter vectors.

Everything is summed in float64 with weight 1, so that one person moves the sum by at most the clipping norm C whatever
the phone sends, and everything is divided by the expected cohort, a public constant, so that who did not answer changes
neither the noise nor the denominator.

Source: McMahan, Ramage, Talwar & Zhang 2018 ("Learning Differentially Private Recurrent Language Models"), the
fixed-denominator estimator of section 3.
"""

import math
from collections.abc import Iterable

import numpy as np

from contracts.errors import PrivacyError, WireError
from contracts.noise import NoiseSource

UPDATE_DTYPE = np.dtype("<f4")  # as phones send it
SUM_DTYPE = np.dtype("<f8")  # as gateways and checkpoints keep it


def read_update(delta: bytes, dimension: int) -> np.ndarray:
    """The update a phone sent, checked.

    Args:
        delta: float32 [dimension], little endian.
        dimension: floats of the adapter.

    Returns:
        float32 [dimension], finite.

    Raises:
        WireError: if the length is another or a value is NaN or infinite.
    """
    if len(delta) != dimension * UPDATE_DTYPE.itemsize:
        raise WireError(
            f"update has {len(delta)} bytes, the adapter takes {dimension * UPDATE_DTYPE.itemsize}: "
            f"send {dimension} float32, little endian"
        )
    update = np.frombuffer(delta, dtype=UPDATE_DTYPE)
    if not np.isfinite(update).all():
        raise WireError(
            "update holds NaN or infinity, only finite floats are summed: the phone must drop this training"
        )
    return update


def clip(update: np.ndarray, clipping_norm: float) -> np.ndarray:
    """The update, scaled down to the clipping norm where it is longer.

    Args:
        update: float32 or float64 [d], finite; the zero vector is legal.
        clipping_norm: C, the largest L2 norm over all d floats.

    Returns:
        float64 [d] of L2 norm at most C: u * min(1, C / |u|).
    """
    wide = update.astype(np.float64)
    norm = float(np.linalg.norm(wide))
    if norm <= clipping_norm:
        return wide
    return wide * (clipping_norm / norm)


def sum_updates(updates: Iterable[np.ndarray], dimension: int, clipping_norm: float) -> np.ndarray:
    """Sum of the updates, each clipped, each with weight 1: float64 [dimension]."""
    total = np.zeros(dimension, dtype=SUM_DTYPE)
    for update in updates:
        total += clip(update, clipping_norm)
    return total


def noise_deviation(clipping_norm: float, noise_multiplier: float) -> float:
    """Standard deviation of the noise on each float of the sum: z C. It depends on public constants alone."""
    return noise_multiplier * clipping_norm


def add_noise(total: np.ndarray, clipping_norm: float, noise_multiplier: float, source: NoiseSource) -> np.ndarray:
    """The Gaussian mechanism on a sum of sensitivity C: float64 [d], total + N(0, (z C)^2).

    Raises:
        PrivacyError: if the sum is not finite: noise would not hide it.
    """
    if not np.isfinite(total).all():
        raise PrivacyError(
            "the sum holds NaN or infinity, noise would not hide it: nothing is released from this round"
        )
    return total + noise_deviation(clipping_norm, noise_multiplier) * source(total.size)


def average(noised_sum: np.ndarray, expected_cohort: float) -> np.ndarray:
    """The noised sum over the expected cohort q * enrolled, never over who answered: float64 [d].

    Raises:
        PrivacyError: if the expected cohort is not a positive number.
    """
    if not (math.isfinite(expected_cohort) and expected_cohort > 0):
        raise PrivacyError(f"expected cohort is {expected_cohort}, must be above 0: enrol people before a round opens")
    return noised_sum / expected_cohort
