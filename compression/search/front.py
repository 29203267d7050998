"""Which candidate is better than which, for `training.pareto`."""

from compression.search.limits import LATENCY_MARGIN
from compression.search.measured import Measured
from training.pareto import surpasses


def smaller_and_better(one: Measured, other: Measured) -> bool:
    """Whether one is no larger, on the device and as a download, and no worse, and one of these it surpasses."""
    return surpasses(*((each.bytes, each.download_bytes, each.loss.value) for each in (one, other)))


def dominates(one: Measured, other: Measured) -> bool:
    """Whether one is smaller and better, and no slower beyond what a machine's noise explains."""
    return smaller_and_better(one, other) and one.latency_ms <= other.latency_ms * LATENCY_MARGIN
