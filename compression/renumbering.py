"""A log and its soft labels under another numbering of the catalogue, such as that of `compression.balanced_lists`.

A coded model's item numbers say in which list an item stands. Renumbering what it is trained on and exported with is
done once, before everything else, so that nothing after it knows of two numberings.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.prepared import Prepared
from training.soft_labels import SoftLabels

TEXTS = ("item_id", "category", "department", "brand", "name")


def new_numbers(order: NDArray[np.int64]) -> NDArray[np.int32]:
    """int32 [items + 1]: the new number of each old one, from the old number of each new one."""
    numbers = np.empty(len(order), np.int32)
    numbers[order] = np.arange(len(order), dtype=np.int32)
    return numbers


def renumbered_log(prepared: Prepared, order: NDArray[np.int64]) -> Prepared:
    """The same log; within a basket, its items stay in the order in which they were.

    Args:
        prepared: the log.
        order: int64 [items + 1], which old number each new one has; 0 keeps its own.
    """
    items, number = prepared.items, new_numbers(order)
    texts = {name: [getattr(items, name)[old] for old in order] for name in TEXTS}
    moved = replace(items, **texts, price_minor=items.price_minor[order], people=items.people[order])
    return replace(prepared, items=moved, events=replace(prepared.events, item=number[prepared.events.item]))


def renumbered_labels(labels: SoftLabels, order: NDArray[np.int64]) -> SoftLabels:
    """The same soft labels; what is said of histories stays in its place."""
    return replace(
        labels,
        new_items=new_numbers(order)[labels.new_items],
        vectors=labels.vectors[order],
        popularity=labels.popularity[order],
        repeat=labels.repeat[order],
    )
