"""Lists of near items, all of one length, so that an item's number says in which list it stands.

A search that gathers whole lists inside a graph of fixed shapes wants lists of one length; k-means has long and short
ones. Here the catalogue is halved again and again across its longest direction (a principal-axis tree: Sproull 1991),
each half a whole number of lists. Item i stands in list i // slots; only the last list may be shorter.
"""

import numpy as np
from numpy.typing import NDArray

POWER_ITERATIONS = 8  # towards a direction, which need not be exact


def list_order(vectors: NDArray[np.float32], slots: int, seed: int) -> NDArray[np.int64]:
    """Numbers for a catalogue's items under which near items are near.

    Args:
        vectors: float32 [items + 1, width], row 0 is padding and keeps its number. Columns should be scaled by how much
            they matter to a score.
        slots: length of a list.
        seed: of the power iterations' starts.

    Returns:
        int64 [items + 1]: which old number each new one has; a permutation that starts with 0.
    """
    rng = np.random.default_rng(seed)
    order = np.arange(len(vectors))
    open_ranges = [(0, len(vectors))]
    while open_ranges:
        first, last = open_ranges.pop()
        lists = -(-(last - first) // slots)
        if lists < 2:
            continue
        part = vectors[order[first:last]]
        middle = lists // 2 * slots
        along = part @ _longest_direction(part, rng)
        order[first:last] = order[first:last][np.argpartition(along, middle)]
        open_ranges += [(first, first + middle), (first + middle, last)]
    padding = int(np.flatnonzero(order == 0)[0])  # trades places with one item, which then stands in a far list
    order[[0, padding]] = order[[padding, 0]]
    return order


def _longest_direction(part: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """float32 [width], of length 1: nearly the first principal axis."""
    centred = part - part.mean(0)
    scatter: NDArray[np.float32] = centred.T @ centred
    direction = rng.standard_normal((part.shape[1],), dtype=np.float32)
    for _ in range(POWER_ITERATIONS):
        direction = scatter @ direction
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
    return direction
