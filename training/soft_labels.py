"""What the teacher says of every example, as arrays: all that distillation needs to know of it.

Queries (hidden states) and the scores of each history's items are the teacher's; labels of new items are those the
teacher was trained towards.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.arrays import load_arrays
from training.examples import Examples
from training.new_item_labels import NewItemLabeller, NewItemLabels
from training.teacher import Teacher, tensors

FILE = "soft_labels.npz"
BATCH = 512
WORKERS = 2  # batches labelled at once: products of sparse matrices use one processor each


@dataclass(frozen=True)
class SoftLabels:
    """Of n examples, and the vectors in whose space the queries live."""

    baskets: NDArray[np.int64]  # [n] which examples
    query: NDArray[np.float32]  # [n, width]
    history_scores: NDArray[np.float32]  # [n, L]
    new_items: NDArray[np.int32]  # [n, K]
    new_share: NDArray[np.float32]  # [n, K]
    vectors: NDArray[np.float32]  # [items + 1, width]
    popularity: NDArray[np.float32]  # [items + 1] log share
    repeat: NDArray[np.float32]  # [items + 1]


@torch.no_grad()
def make_soft_labels(teacher: Teacher, examples: Examples, labels: NewItemLabels) -> SoftLabels:
    """Ask the teacher about every example."""
    teacher.eval()
    queries, scores = [], []
    catalogue = teacher.catalogue()
    for first in range(0, len(examples), BATCH):
        query, base, gain = teacher(catalogue, *tensors(examples.histories[slice(first, first + BATCH)]))
        queries.append(query.numpy())
        scores.append((base + gain).numpy())
    return SoftLabels(
        baskets=examples.baskets,
        query=np.concatenate(queries),
        history_scores=np.concatenate(scores),
        new_items=labels.items,
        new_share=labels.share,
        vectors=catalogue.numpy(),
        popularity=teacher.popularity.numpy(),
        repeat=teacher.repeat.detach().numpy(),
    )


def label_new_items(
    labeller: NewItemLabeller, examples: Examples, progress: Callable[[int, int], None] | None = None
) -> NewItemLabels:
    """Soft labels of new items for every example; `progress` is called with examples done and all examples."""
    weights, person = examples.weights(), examples.prepared.basket_person[examples.baskets]

    def label(first: int) -> NewItemLabels:
        return labeller.labels(weights[first : first + BATCH], person[first : first + BATCH])

    starts, parts = range(0, len(examples), BATCH), []
    with ThreadPoolExecutor(WORKERS) as workers:
        for first, part in zip(starts, workers.map(label, starts), strict=True):
            parts.append(part)
            if progress:
                progress(min(first + BATCH, len(examples)), len(examples))
    return NewItemLabels(np.concatenate([part.items for part in parts]), np.concatenate([part.share for part in parts]))


def save_soft_labels(labels: SoftLabels, folder: Path) -> None:
    np.savez(folder / FILE, **vars(labels))


def load_soft_labels(folder: Path) -> SoftLabels:
    """Read what `save_soft_labels` wrote.

    Raises:
        RunError: if the folder holds none.
    """
    return load_arrays(SoftLabels, folder / FILE, "soft labels")
