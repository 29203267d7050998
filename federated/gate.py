"""Whether a model that rounds have trained is published: only if held-out people are not worse off."""

import msgspec
import numpy as np

from contracts.errors import DataError

_QUANTILES = (0.025, 0.975)  # of a 95 % interval
_CHUNK_FLOATS = 2_000_000  # of resampled differences held at once


class GateDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The decision and the numbers it rests on; they are statistics of the held-out people, so say whom they cover."""

    published: bool
    mean_difference: float  # new minus old, over people
    low: float  # 95 % paired bootstrap interval of the mean difference
    high: float
    margin: float  # how much worse the interval's lower end may be
    people: int

    @property
    def reason(self) -> str:
        verb, sign = ("published", ">=") if self.published else ("refused", "<")
        return (
            f"{verb}: the lower bound {self.low:+.5f} of the mean difference over {self.people} held-out people is "
            f"{sign} {0.0 - self.margin:+.5f}"  # no margin is +0, not -0
        )


def decide(old: np.ndarray, new: np.ndarray, margin: float = 0.0, resamples: int = 2000, seed: int = 0) -> GateDecision:
    """Publish if the lower bound of the paired bootstrap of the mean difference is at least minus the margin.

    People are resampled, each with both of their values. A refusal has cost its privacy all the same: the release was
    charged before anybody looked at it.

    Args:
        old, new: float [people], the same metric of the same people in the same order, higher is better.
        margin: how much worse is still "not worse", at least 0.
        resamples: of the bootstrap.
        seed: of the resampling: the decision can be repeated; nothing of it is secret.

    Raises:
        DataError: if the arrays differ in length, hold fewer than two people or a value that is not finite.

    Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", the percentile interval of section 13.3.
    """
    if old.shape != new.shape or old.ndim != 1:
        raise DataError(f"metrics have shapes {old.shape} and {new.shape}: give one value per person for both models")
    if old.size < 2:
        raise DataError(f"the gate has {old.size} held-out people, it needs at least 2: hold out more people")
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        raise DataError("a metric is NaN or infinite: leave people without a value out of both arrays")
    if not 0.0 <= margin < np.inf:
        raise DataError(f"margin is {margin}, must be a finite number of at least 0")
    difference = new.astype(np.float64) - old.astype(np.float64)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_FLOATS // difference.size)
    means = np.concatenate(
        [
            difference[generator.integers(difference.size, size=(min(chunk, resamples - done), difference.size))].mean(
                1
            )
            for done in range(0, resamples, chunk)
        ]
    )
    low, high = (float(bound) for bound in np.quantile(means, _QUANTILES))
    return GateDecision(
        published=low >= -margin,
        mean_difference=float(difference.mean()),
        low=low,
        high=high,
        margin=margin,
        people=difference.size,
    )
