"""The next-basket task: which baskets are scored, from what, and what counts as found."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from contracts.errors import DataError
from training.histories import timelines
from training.prepared import Prepared
from training.split import TEST, TRAIN, VALIDATION

__all__ = ["TEST", "TRAIN", "VALIDATION", "Cases", "basket_matrix", "next_basket_cases"]

PARTS = {TRAIN: "training", VALIDATION: "validation", TEST: "test"}


@dataclass(frozen=True)
class Cases:
    """n baskets to be predicted, each from its person's events strictly before it."""

    baskets: NDArray[np.int64]  # [n] basket numbers, increasing
    person: NDArray[np.int32]  # [n]
    weights: sp.csr_matrix  # float32 [n, items + 1]: the person's fading counts over the whole history
    targets: sp.csr_matrix  # bool [n, items + 1]: distinct catalogue items of the basket
    excluded: int  # baskets left out because their person did nothing before them
    information: NDArray[np.float32] | None = (
        None  # [items + 1] bits of each item, -log2 of the share of people with it
    )

    def __len__(self) -> int:
        return len(self.baskets)


def basket_matrix(prepared: Prepared, baskets: NDArray[np.integer]) -> sp.csr_matrix:
    """float32 [n, items + 1]: 1 where the basket holds the item."""
    start = prepared.basket_start
    sizes = start[baskets + 1] - start[baskets]
    rows = np.repeat(np.arange(len(baskets)), sizes)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    columns = prepared.events.item[np.repeat(start[baskets], sizes) + within]
    shape = (len(baskets), len(prepared.items.item_id))
    matrix = sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)
    matrix.data[:] = 1.0
    return matrix


def self_information(prepared: Prepared) -> NDArray[np.float32]:
    """float32 [items + 1]: -log2 of the share of central people who had the item before the test weeks."""
    central = max(int((~prepared.is_phone).sum()), 1)
    return -np.log2(np.maximum(prepared.items.people, 1) / central).astype(np.float32)


def next_basket_cases(prepared: Prepared, split: int) -> Cases:
    """Every basket of a split by people who are not phones, save those before which the person did nothing.

    Raises:
        DataError: if none is left.
    """
    central = ~prepared.is_phone[prepared.basket_person]
    wanted = central & (prepared.basket_split == split)
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
            f"none of the {int(wanted.sum()):,} baskets of the {PARTS[split]} weeks has anything of its person before "
            "it, so nothing can be measured: use a longer log or longer weeks under [split]"
        )
    numbers = np.array(baskets, np.int64)
    shape = (len(numbers), len(prepared.items.item_id))
    flat = (np.concatenate(values).astype(np.float32), (np.concatenate(rows), np.concatenate(columns)))
    return Cases(
        baskets=numbers,
        person=prepared.basket_person[numbers],
        weights=sp.csr_matrix(flat, shape=shape),
        targets=basket_matrix(prepared, numbers),
        excluded=int(wanted.sum()) - len(numbers),
        information=self_information(prepared),
    )
