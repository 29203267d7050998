"""The Pareto front: candidates than which none is better in every respect."""

from collections.abc import Sequence

from compression.search.limits import LATENCY_MARGIN
from compression.search.measured import Measured


def dominates(one: Measured, other: Measured) -> bool:
    """Whether one is no larger, no slower beyond what a machine's noise explains, no worse, and smaller or better."""
    return (
        one.bytes <= other.bytes
        and one.latency_ms <= other.latency_ms * LATENCY_MARGIN
        and one.loss.value <= other.loss.value
        and (one.bytes < other.bytes or one.loss.value < other.loss.value)
    )


def pareto_front(found: Sequence[Measured]) -> list[Measured]:
    """Those that no other dominates, smallest first."""
    front = [each for each in found if not any(dominates(other, each) for other in found)]
    return sorted(front, key=lambda each: (each.bytes, each.loss.value, each.recipe))
