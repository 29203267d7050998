"""The next-basket task: which baskets are scored, from what, and what counts as found.

What a project is measured on is `training.protocols.cases_for`, which is built of what stands here.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from contracts.errors import DataError
from training.histories import timelines
from training.prepared import Prepared
from training.split import TEST, TRAIN, VALIDATION

__all__ = [
    "TEST",
    "TRAIN",
    "VALIDATION",
    "Cases",
    "basket_lines",
    "basket_matrix",
    "cases_of",
    "next_basket_cases",
    "target_matrix",
]

PARTS = {TRAIN: "training", VALIDATION: "validation", TEST: "test"}


@dataclass(frozen=True)
class Cases:
    """n baskets to be predicted, each from its person's events strictly before it."""

    baskets: NDArray[np.int64]  # [n] basket numbers, increasing
    person: NDArray[np.int32]  # [n]
    weights: sp.csr_matrix  # float32 [n, items + 1]: the person's fading counts over the whole history
    targets: sp.csr_matrix  # bool [n, items + 1]: distinct items of the basket whose event is to be foreseen
    excluded: int  # baskets left out because their person did nothing before them
    information: NDArray[np.float32] | None = (
        None  # [items + 1] bits of each item, -log2 of the share of people with it
    )

    def __len__(self) -> int:
        return len(self.baskets)


@dataclass(frozen=True)
class Lines:
    """Distinct items of n baskets, each once with its weightiest event."""

    row: NDArray[np.int64]  # [lines] 0 to n - 1, increasing
    item: NDArray[np.int32]  # [lines] increasing within a row
    weight: NDArray[np.float64]  # [lines] in purchases, above 0


def basket_lines(prepared: Prepared, baskets: NDArray[np.integer], targets_only: bool) -> Lines:
    """What some baskets hold.

    Args:
        prepared: the log.
        baskets: int [n].
        targets_only: without events that are not to be foreseen.
    """
    start = prepared.basket_start
    sizes = start[baskets + 1] - start[baskets]
    row = np.repeat(np.arange(len(baskets)), sizes)
    event = np.repeat(start[baskets], sizes) + np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    weight = prepared.event_weight[prepared.events.event[event]]
    kept = weight > 0
    if targets_only:
        kept &= prepared.is_target[event]
    row, item, weight = row[kept], prepared.events.item[event[kept]], weight[kept]
    # Lines of one item of a basket stand together, one for each type of event.
    first = np.flatnonzero((np.diff(row, prepend=-1) != 0) | (np.diff(item, prepend=0) != 0))
    return Lines(row[first], item[first], np.maximum.reduceat(weight, first) if len(first) else weight)


def basket_matrix(prepared: Prepared, baskets: NDArray[np.integer]) -> sp.csr_matrix:
    """float32 [n, items + 1]: what the weightiest event with an item of the basket weighs, in purchases."""
    lines = basket_lines(prepared, baskets, targets_only=False)
    shape = (len(baskets), len(prepared.items.item_id))
    return sp.csr_matrix((lines.weight.astype(np.float32), (lines.row, lines.item)), shape=shape)


def target_matrix(prepared: Prepared, baskets: NDArray[np.integer]) -> sp.csr_matrix:
    """float32 [n, items + 1]: 1 where the basket holds the item as something to be foreseen."""
    lines = basket_lines(prepared, baskets, targets_only=True)
    shape = (len(baskets), len(prepared.items.item_id))
    return sp.csr_matrix((np.ones(len(lines.row), np.float32), (lines.row, lines.item)), shape=shape)


def self_information(prepared: Prepared) -> NDArray[np.float32]:
    """float32 [items + 1]: -log2 of the share of central people who had the item outside the test part."""
    central = max(int((~prepared.is_phone).sum()), 1)
    return -np.log2(np.maximum(prepared.items.people, 1) / central).astype(np.float32)


def next_basket_cases(prepared: Prepared, split: int) -> Cases:
    """Every basket of a split with something to foresee, by people who are not phones.

    Left out are those before which the person did nothing.

    Raises:
        DataError: if none is left.
    """
    return cases_of(prepared, (prepared.basket_split == split) & prepared.has_target, split)


def cases_of(prepared: Prepared, wanted: NDArray[np.bool_], split: int) -> Cases:
    """Those of some baskets that are not phones' and before which their person did something.

    Args:
        prepared: the log.
        wanted: bool [baskets].
        split: that they are of, for an error to name.

    Raises:
        DataError: if none is left.
    """
    wanted = wanted & ~prepared.is_phone[prepared.basket_person]
    baskets: list[int] = []
    rows, columns, values = [], [], []
    for line in timelines(prepared, wanted):
        if len(line.items):
            rows.append(np.full(len(line.items), len(baskets)))
            columns.append(line.items)
            values.append(line.weights)
            baskets.append(line.basket)
    if not baskets:
        raise DataError(
            f"none of the {int(wanted.sum()):,} baskets of the {PARTS[split]} part has anything of its person before "
            "it, so nothing can be measured: use a longer log or longer weeks under [split]"
        )
    numbers = np.array(baskets, np.int64)
    shape = (len(numbers), len(prepared.items.item_id))
    flat = (np.concatenate(values).astype(np.float32), (np.concatenate(rows), np.concatenate(columns)))
    return Cases(
        baskets=numbers,
        person=prepared.basket_person[numbers],
        weights=sp.csr_matrix(flat, shape=shape),
        targets=target_matrix(prepared, numbers),
        excluded=int(wanted.sum()) - len(numbers),
        information=self_information(prepared),
    )
