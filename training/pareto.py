"""The Pareto front: those that nothing else beats, by whatever it is that counts."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def surpasses(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is as good in everything and better in something; lower is better."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))


def pareto_front(found: Sequence[T], dominates: Callable[[T, T], bool]) -> list[T]:
    """Those that no other dominates, in their order.

    Args:
        found: what is compared.
        dominates: whether its first argument is better than its second.
    """
    return [each for each in found if not any(dominates(other, each) for other in found)]
