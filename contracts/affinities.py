"""What somebody leans to: shares of their fading purchases by category, and by how dear items are for their category.

The weights are those of the history that the model reads (`contracts.summary`), exact integers up to the last division:
devices and server, who hold the same summary and the same catalogue, find the same shares.
"""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum

from contracts.summary import Summary, item_activities, weigh

MAX_CATEGORIES = 20  # told of one person, those of the greatest share


class PriceBand(StrEnum):
    """Thirds of a category's items by price."""

    LOW = "low"
    MIDDLE = "middle"
    HIGH = "high"


def item_weights(summary: Summary) -> dict[str, int]:
    """How much each item counts: what was bought and looked at, fading, in a unit of this summary's own."""
    activities = {item: one.weights for item, one in item_activities(summary).items() if one.weights}
    first = min((era for weights in activities.values() for era, _ in weights), default=0)
    return {item: weight for item, weights in activities.items() if (weight := weigh(weights, first))}


def category_affinities(summary: Summary, category: Callable[[str], str]) -> dict[str, float]:
    """Share of each category, the greatest first; at most `MAX_CATEGORIES`.

    Args:
        summary: of a person.
        category: of an item, empty where it is unknown: such items have no part.
    """
    weights: Counter[str] = Counter()
    for item, weight in item_weights(summary).items():
        if named := category(item):
            weights[named] += weight
    shares = _shares(weights)
    ranked = sorted(shares, key=lambda name: (-weights[name], name))[:MAX_CATEGORIES]
    return {name: shares[name] for name in ranked}


def price_affinities(summary: Summary, band: Callable[[str], PriceBand | None]) -> dict[PriceBand, float]:
    """Share of each price band; empty where no price is known.

    Args:
        summary: of a person.
        band: of an item, None where its price or category is unknown.
    """
    weights: Counter[PriceBand] = Counter()
    for item, weight in item_weights(summary).items():
        if (found := band(item)) is not None:
            weights[found] += weight
    shares = _shares(weights)
    return {each: shares.get(each, 0.0) for each in PriceBand} if shares else {}


def _shares(weights: Counter) -> dict:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
