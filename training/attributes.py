"""What is known of an item before anybody has it: category, department, brand, and how its price compares."""

import numpy as np
from numpy.typing import NDArray

from training.prepared import Items

UNKNOWN_PRICE = 0  # the band of items whose price nobody stated


def price_bands(category: list[str], price_minor: NDArray[np.int64], bands: int) -> NDArray[np.int64]:
    """Where an item's price stands among those of its category, in equal parts of the category's items.

    A band is relative, so that it means the same in every category: 1 is a category's cheapest part. Items of one price
    are in one band, that of their middle; an item alone in its category is in the middle band.

    Args:
        category: of each of n items.
        price_minor: int64 [n], 0 where unknown.
        bands: at least 1.

    Returns:
        int64 [n]: 1 to `bands`; `UNKNOWN_PRICE` without a price.
    """
    found = np.full(len(price_minor), UNKNOWN_PRICE, np.int64)
    kinds = np.unique(np.array(category, dtype=str), return_inverse=True)[1]
    known = np.flatnonzero(price_minor > 0)
    known = known[np.lexsort((price_minor[known], kinds[known]))]
    kind, price = kinds[known], price_minor[known]
    begin, end = (np.searchsorted(kind, kind, side=side) for side in ("left", "right"))
    first = (np.diff(kind, prepend=-1) != 0) | (np.diff(price, prepend=-1) != 0)  # of the items of one price
    start = np.flatnonzero(first)
    middle = start + np.append(start[1:], len(known))  # twice, so that it is whole
    found[known] = 1 + bands * (middle[np.cumsum(first) - 1] - 2 * begin) // (2 * (end - begin))
    return found


def attribute_values(items: Items, bands: int = 0) -> list[list[str]]:
    """Of each attribute, the value of every item, padding's first.

    Args:
        items: the catalogue.
        bands: of the price, which is an attribute where this is above 0.
    """
    values = [items.category, items.department, items.brand]
    if bands:
        values.append(price_bands(items.category, items.price_minor, bands).astype(str).tolist())
    return values
