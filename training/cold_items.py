"""Vectors of items that no training has seen, from what is known of them: category, department, brand, price and name.

A known item's row is taken for the sum of a mean, an effect of each of its attributes, and what is its own. The effects
are ridge regression's on the attributes' indicators (Hoerl and Kennard 1970): a value that few known items share says
little, one that none shares says nothing, and who shares nothing gets the mean. A device table's repeat bias is
foreseen as its vectors are. Its popularity is not, and new items begin with the known ones' mean: foreseen from what
the category's items sold, it put the new items that people took below half of the catalogue, as
`benchmarks/cold_items.py` shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from training.attributes import attribute_values
from training.prepared import Items

PRICE_BANDS = 5
RIDGE = 4.0  # known items: an effect that so many share is halved; chosen on items first sold in the validation weeks
TOLERANCE = 1e-6  # of the residual, relative: rows are stored in a hundredth of their range
MOST_ITERATIONS = 500


@dataclass(frozen=True)
class AttributeEffects:
    """What each value of each attribute adds to a row."""

    mean: NDArray[np.float64]  # [width]
    values: tuple[dict[str, int], ...]  # of each attribute: value -> its row of `effects`
    effects: NDArray[np.float64]  # [values, width]

    def rows(self, attributes: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """float32 [n, width] of n items, known or not.

        Args:
            attributes: of each attribute the value of every item, in the order of the fit.
        """
        return (self.mean + _indicators(self.values, attributes) @ self.effects).astype(np.float32)


def fit_effects(
    rows: NDArray[np.floating], attributes: Sequence[Sequence[str]], ridge: float = RIDGE
) -> AttributeEffects:
    """Fit what attributes say of known items' rows.

    Args:
        rows: float [n, width], at least one.
        attributes: of each attribute the value of every item.
        ridge: above 0, the penalty on squared effects; the mean has none.
    """
    mean = rows.mean(0, dtype=np.float64)
    values, size = [], 0
    for column in attributes:
        distinct = sorted(set(column))
        values.append({value: size + number for number, value in enumerate(distinct)})
        size += len(distinct)
    indicators = _indicators(values, attributes)
    return AttributeEffects(mean, tuple(values), _ridge(indicators, rows - mean, ridge))


def match_items(known: Sequence[str], item_id: Sequence[str]) -> NDArray[np.int64]:
    """int64 [items + 1]: the index in one catalogue of each item of another, 0 where it is not known.

    Args:
        known: ids of the one, padding's first.
        item_id: ids of the other, padding's first.
    """
    own = {item: index for index, item in enumerate(known)}
    return np.array([0, *(own.get(item, 0) for item in item_id[1:])], np.int64)


def item_attributes(items: Items) -> list[list[str]]:
    """What is read of items, padding's value first: brand and name as what they mean in the category.

    A price band is relative to the category already; one for each category ranked new items worse.
    """
    values = attribute_values(items, PRICE_BANDS)
    within = [
        [f"{category}\n{value}" for category, value in zip(items.category, column, strict=True)]
        for column in (items.brand, items.name)
    ]
    return [*values, *within]


def grown_rows(
    rows: NDArray[np.floating], known: NDArray[np.int64], items: Items, unforeseen: Sequence[int] = ()
) -> NDArray[np.float32]:
    """A table over a catalogue of which it knows a part: known items keep their rows, new ones get attributes' rows.

    Args:
        rows: float [old items + 1, width], padding's first.
        known: int64 [items + 1], see `match_items`; some item must be known.
        items: the catalogue, whose attributes and prices tell of all its items.
        unforeseen: columns that attributes say nothing of, such as popularity: new items get the mean.
    """
    attributes = item_attributes(items)
    old, new = np.flatnonzero(known), np.flatnonzero(known == 0)[1:]

    def of(chosen: NDArray[np.int64]) -> list[list[str]]:
        return [[column[item] for item in chosen] for column in attributes]

    found = np.zeros((len(known), rows.shape[1]), np.float32)
    found[old] = rows[known[old]]
    if len(new):
        fitted = fit_effects(rows[known[old]], of(old))
        fitted.effects[:, list(unforeseen)] = 0.0
        found[new] = fitted.rows(of(new))
    return found


def _indicators(values: Sequence[dict[str, int]], attributes: Sequence[Sequence[str]]) -> sp.csr_matrix:
    """float64 [n, values]: 1 where an item has a value; what no known item has stands nowhere."""
    codes = np.array([[of.get(value, -1) for value in column] for of, column in zip(values, attributes, strict=True)])
    attribute, item = np.nonzero(codes >= 0)
    shape = (codes.shape[1], sum(map(len, values)))
    return sp.csr_matrix((np.ones(len(item)), (item, codes[attribute, item])), shape=shape)


def _ridge(indicators: sp.csr_matrix, rows: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """float64 [values, width] that minimise |indicators @ effects - rows|^2 + ridge * |effects|^2.

    By conjugate gradients, which never hold a matrix of values times values: a shop with many brands has billions.
    """
    from sklearn.linear_model import Ridge

    found = Ridge(ridge, fit_intercept=False, solver="sparse_cg", tol=TOLERANCE, max_iter=MOST_ITERATIONS)
    return found.fit(indicators, rows).coef_.reshape(rows.shape[1], -1).T
