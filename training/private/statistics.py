"""What is released of people once, with noise: how popular items are, and which stand close to each other.

Each person's contribution is a vector scaled to length 1; the sum over people gets Gaussian noise. Whatever is computed
from the noisy sums afterwards costs nothing more.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.noise import NoiseSource
from training.sequence.sequences import Sequences

GAPS = 20  # places in a sequence over which two items still count as close
FADING = 0.7  # a pair over a gap weighs gap ** -FADING
HEAD = 8_192  # most popular items whose pairs are released: of rarer ones nothing stands above the noise
BLOCK_ROWS = 256  # of the pairs, handled at a time
LEAST_POPULARITY = 0.1  # of an item that nobody has, where there is no noise


@dataclass(frozen=True)
class Neighbours:
    """The K closest items of each item, best first; 0 where there are fewer."""

    items: NDArray[np.int32]  # [items + 1, K]
    closeness: NDArray[np.float32]  # [items + 1, K] noisy sums, never below 0; 0 at padding


def noisy_popularity(sequences: Sequences, noise_multiplier: float, noise: NoiseSource) -> NDArray[np.float64]:
    """float64 [items + 1]: how many people have an item, each person's items together of length 1, with noise.

    The result is floored at the noise's own deviation: below it nothing is known of an item but that it exists.
    """
    total = np.zeros(sequences.items + 1)
    for person in range(len(sequences)):
        items = np.unique(sequences.of(person))
        total[items] += 1.0 / np.sqrt(max(len(items), 1))
    if noise_multiplier:
        total += noise_multiplier * noise(len(total))
    total = np.maximum(total, max(noise_multiplier, LEAST_POPULARITY))
    total[0] = 0.0
    return total


def head_of(popularity: NDArray[np.floating]) -> NDArray[np.int64]:
    """int64 [h]: the most popular items, increasing, as far as was released."""
    order = np.argsort(-popularity[1:], kind="stable")[:HEAD] + 1
    return np.sort(order)


def person_pairs(items: NDArray[np.integer], catalogue: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The close pairs of one sequence.

    Args:
        items: int [n], indices from 1 in order of time; 0 stands for items that are left out.
        catalogue: largest index.

    Returns:
        Distinct pairs as int64 low * (catalogue + 1) + high with low < high, and float64 weights: gap ** -FADING
        added up over all places, then scaled so that all together have length 1.
    """
    found, weights = [np.zeros(0, np.int64)], [np.zeros(0)]
    for gap in range(1, min(GAPS, len(items) - 1) + 1):
        low, high = np.minimum(items[:-gap], items[gap:]), np.maximum(items[:-gap], items[gap:])
        kept = (low > 0) & (low < high)
        found.append(low[kept].astype(np.int64) * (catalogue + 1) + high[kept])
        weights.append(np.full(int(kept.sum()), gap**-FADING))
    pairs, place = np.unique(np.concatenate(found), return_inverse=True)
    total = np.bincount(place, np.concatenate(weights), len(pairs))
    length = float(np.linalg.norm(total))
    return pairs, total / max(length, 1e-12)


def noisy_pairs(
    sequences: Sequences, head: NDArray[np.integer], noise_multiplier: float, noise: NoiseSource
) -> NDArray[np.float32]:
    """float32 [h, h], symmetric: sums over people of their close pairs among some items, with noise.

    Args:
        sequences: of all people.
        head: int [h], the items, chosen by what is public or was released.
        noise_multiplier: deviation of the noise on a pair.
        noise: its source.
    """
    size = len(head)
    number = np.zeros(sequences.items + 1, np.int32)
    number[head] = np.arange(1, size + 1)
    sums = np.zeros((size + 1) ** 2, np.float32)
    for person in range(len(sequences)):
        pairs, weights = person_pairs(number[sequences.of(person)], size)
        sums[pairs] += weights  # pairs are distinct: nothing is lost
    upper = sums.reshape(size + 1, size + 1)[1:, 1:]
    for first in range(0, size if noise_multiplier else 0, BLOCK_ROWS):
        block = upper[first : first + BLOCK_ROWS]
        block[:] = block.astype(np.float64) + noise_multiplier * noise(block.size).reshape(block.shape)
    upper = np.triu(upper, 1)
    upper += upper.T
    return upper


def neighbours_of(pairs: NDArray[np.float32], head: NDArray[np.integer], catalogue: int, most: int) -> Neighbours:
    """The `most` closest items of each item of the head; computed from what was released.

    Args:
        pairs: float32 [h, h], symmetric.
        head: int [h], the items.
        catalogue: number of items.
        most: K.
    """
    kept = min(most, len(head))
    items = np.zeros((catalogue + 1, kept), np.int32)
    closeness = np.zeros((catalogue + 1, kept), np.float32)
    for first in range(0, len(head), BLOCK_ROWS):
        block, rows = pairs[first : first + BLOCK_ROWS], head[first : first + BLOCK_ROWS]
        best = np.argsort(-block, axis=1, kind="stable")[:, :kept]
        values = np.maximum(np.take_along_axis(block, best, 1), 0.0)
        items[rows] = np.where(values > 0, head[best], 0)
        closeness[rows] = values
    return Neighbours(items, closeness)


def spectral_table(
    pairs: NDArray[np.float32],
    head: NDArray[np.integer],
    catalogue: int,
    width: int,
    noise_multiplier: float,
    seed: int,
) -> NDArray[np.float32]:
    """float32 [items + 1, width]: the directions of the pairs that stand above the noise; 0 where none does.

    A symmetric matrix of independent noise has no eigenvalue beyond 2 z sqrt(h) (Wigner 1958); what is larger is
    shortened by as much as noise lengthened it (Gavish and Donoho 2017, "Optimal shrinkage of singular values").

    Args:
        pairs: float32 [h, h], symmetric, released.
        head: int [h], the items.
        catalogue: number of items.
        width: of the table.
        noise_multiplier: deviation of the noise on a pair.
        seed: of the solver's start.
    """
    from scipy.sparse.linalg import eigsh

    table = np.zeros((catalogue + 1, width), np.float32)
    rank = min(width, len(head) - 2)
    if rank < 1 or not pairs.any():
        return table
    start = np.random.default_rng(seed).standard_normal(len(head)).astype(np.float32)
    values, vectors = eigsh(pairs, rank, which="LA", v0=start)
    edge = 2.0 * noise_multiplier * np.sqrt(len(head))
    strength = np.where(values > edge, np.sqrt(np.maximum(values**2 - edge**2, 0.0)), 0.0)
    table[head, :rank] = vectors * np.sqrt(strength)
    return table
