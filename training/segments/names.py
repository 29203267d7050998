"""Readable names of segments, from their centres.

A name says how often people of a segment come, or that they stay away, and what they spend: "loyal, high value".
Where that names two segments alike, what sets them apart is added.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from contracts.segments import (
    BASKET_SIZE,
    BROWSING_RECENCY,
    CATEGORIES,
    FREQUENCY,
    IRREGULARITY,
    ITEMS,
    RECENCY,
    VALUE,
)

NOTABLE = 0.5  # standard deviations from the mean person, from which on a segment is called different
EVERYONE = "everyone"
Centre = Mapping[str, float]
"""Feature -> standardised value; features in which people do not differ may be missing."""

APART = {  # feature -> what the higher and the lower half of namesakes are called; the first that parts them is taken
    BASKET_SIZE: ("large baskets", "small baskets"),
    CATEGORIES: ("wide choice", "narrow choice"),
    IRREGULARITY: ("now and then", "steady"),
    RECENCY: ("away", "recent"),
    BROWSING_RECENCY: ("not browsing", "browsing"),
    FREQUENCY: ("more orders", "fewer orders"),
    VALUE: ("spends more", "spends less"),
    ITEMS: ("many items", "few items"),
}
CLEAR = 0.25  # standard deviations between two halves of namesakes, below which a word would mislead


def segment_names(centres: Sequence[Centre]) -> tuple[str, ...]:
    """One name for each centre, all different; the order of the centres changes no name but a numbered one."""
    if len(centres) == 1:
        return (EVERYONE,)
    names = [", ".join(filter(None, (_habit(centre), _spending(centre)))) for centre in centres]
    for feature, words in APART.items():
        for namesakes in _namesakes(names):
            _part(names, namesakes, [centres[at].get(feature, 0.0) for at in namesakes], words)
    for namesakes in _namesakes(names):
        for number, at in enumerate(namesakes, start=1):
            names[at] += f" {number}"
    return tuple(names)


def _habit(centre: Centre) -> str:
    frequency, recency = centre.get(FREQUENCY, 0.0), centre.get(RECENCY, 0.0)
    if recency >= NOTABLE and frequency < NOTABLE:
        return "lapsing"
    if frequency >= NOTABLE:
        return "loyal"
    return "occasional" if frequency <= -NOTABLE else "regular"


def _spending(centre: Centre) -> str:
    """Nothing where the log has no prices, or all spend alike."""
    value = centre.get(VALUE)
    if value is None:
        return ""
    if abs(value) < NOTABLE:
        return "medium value"
    return "high value" if value > 0 else "low value"


def _namesakes(names: Sequence[str]) -> list[list[int]]:
    places = defaultdict(list)
    for at, name in enumerate(names):
        places[name].append(at)
    return [each for each in places.values() if len(each) > 1]


def _part(names: list[str], namesakes: Sequence[int], values: Sequence[float], words: tuple[str, str]) -> None:
    """Add a word to each namesake where the widest gap between their values parts them clearly."""
    ranked = sorted(values)
    gap, lower = max((high - low, low) for low, high in pairwise(ranked))
    if gap < CLEAR:
        return
    for at, value in zip(namesakes, values, strict=True):
        names[at] += f", {words[0] if value > lower else words[1]}"
