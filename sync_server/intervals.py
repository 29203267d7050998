"""Arithmetic of inclusive integer ranges: which sequence numbers are settled, which are missing."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[int, int]  # first and last, inclusive


def union(ranges: Iterable[Range]) -> list[Range]:
    """The same numbers as sorted ranges that neither overlap nor touch."""
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def holds(ranges: list[Range], number: int) -> bool:
    """Whether one of some ranges has a number.

    Args:
        ranges: as `union` returns them.
    """
    if not ranges or number > ranges[-1][1]:  # what is new, as most numbers are
        return False
    place = bisect_right(ranges, number, key=lambda one: one[0])
    return place > 0 and number <= ranges[place - 1][1]


def watermark(settled: list[Range]) -> int:
    """The last number up to which everything from 0 on is settled, -1 if 0 is not.

    Args:
        settled: as `union` returns it.
    """
    return settled[0][1] if settled and settled[0][0] == 0 else -1


def missing(present: list[Range]) -> Iterator[Range]:
    """The ranges between 0 and the greatest number that are not there.

    Args:
        present: as `union` returns it.
    """
    expected = 0
    for first, last in present:
        if expected < first:
            yield expected, first - 1
        expected = last + 1
