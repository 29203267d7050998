"""The Pareto front: candidates than which none is better in every respect."""

from collections.abc import Sequence

from compression.search.limits import LATENCY_MARGIN
from compression.search.measured import Measured


def smaller_and_better(one: Measured, other: Measured) -> bool:
    """Whether one is no larger, on the device and as a download, and no worse, and one of these it surpasses."""
    ours, theirs = ((each.bytes, each.download_bytes, each.loss.value) for each in (one, other))
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


def dominates(one: Measured, other: Measured) -> bool:
    """Whether one is smaller and better, and no slower beyond what a machine's noise explains."""
    return smaller_and_better(one, other) and one.latency_ms <= other.latency_ms * LATENCY_MARGIN


def pareto_front(found: Sequence[Measured]) -> list[Measured]:
    """Those that no other dominates, smallest first."""
    front = [each for each in found if not any(dominates(other, each) for other in found)]
    return sorted(front, key=lambda each: (each.bytes, each.download_bytes, each.loss.value, each.recipe))
