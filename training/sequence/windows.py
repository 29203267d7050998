"""Batches of windows of sequences, cut anew in every epoch, so that every position is a target once an epoch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.sequence.sequences import Sequences

LENGTH_JITTER = 8  # windows of nearly one length share a batch, not always with the same others


@dataclass(frozen=True)
class Windows:
    """w stretches of sequences; position j of a stretch predicts what follows it."""

    person: NDArray[np.int64]  # [w]
    first: NDArray[np.int64]  # [w] where the stretch begins in its person's sequence
    size: NDArray[np.int64]  # [w] positions, each with a target


@dataclass(frozen=True)
class WindowBatch:
    """B windows, padded behind: a causal model never sees the padding."""

    items: NDArray[np.int64]  # [B, T]
    size: NDArray[np.int64]  # [B]
    event: NDArray[np.int64]  # [B, T] where each item stands among all events; 0 at padding
    targets: NDArray[np.int64]  # [B, T, F] the F items that follow each position, 0 where the sequence ends

    def part(self, rank: int, processes: int) -> tuple["WindowBatch", float]:
        """One process's windows, and the share of the batch's positions that they hold.

        Where there are fewer windows than processes, those without one get another's, which counts as a share of 0.
        """
        windows = len(self.size)
        own = slice(rank % windows, None, processes)
        part = WindowBatch(*(value[own] for value in vars(self).values()))
        return part, float(part.size.sum() / self.size.sum()) if rank < windows else 0.0


def cut(sequences: Sequences, length: int, rng: np.random.Generator) -> Windows:
    """Cut each sequence into windows of at most `length` positions.

    The last window of a long sequence ends with it and has a random size, the first takes what is left, so that the
    cuts fall elsewhere in every epoch. Together a person's windows hold all targets once.
    """
    targets = sequences.sizes() - 1
    last = np.where(targets > length, rng.integers(1, length + 1, len(targets)), np.minimum(targets, length))
    person, first, size = [], [], []
    for number in np.flatnonzero(targets > 0):
        ends = np.concatenate([[targets[number]], np.arange(targets[number] - last[number], 0, -length)])
        starts = np.append(ends[1:], 0)
        person.append(np.full(len(ends), number))
        first.append(starts)
        size.append(ends - starts)
    return Windows(*(np.concatenate(column).astype(np.int64) for column in (person, first, size)))


def batches(
    sequences: Sequences, length: int, positions: int, future: int, rng: np.random.Generator
) -> Iterator[WindowBatch]:
    """One epoch.

    Args:
        sequences: to learn from.
        length: most positions of a window.
        positions: most positions of a batch, padding included.
        future: F, how many following items are targets of a position.
        rng: of cuts and order.
    """
    windows = cut(sequences, length, rng)
    order = np.lexsort(
        (rng.random(len(windows.size)), windows.size + rng.integers(0, LENGTH_JITTER, len(windows.size)))
    )
    groups: list[list[int]] = []
    group: list[int] = []
    longest = 0
    for window in order.tolist():
        longest = max(longest, int(windows.size[window]))
        if group and longest * (len(group) + 1) > positions:
            groups.append(group)
            group, longest = [], int(windows.size[window])
        group.append(window)
    groups.append(group)
    for number in rng.permutation(len(groups)):
        chosen = np.array(groups[number])
        yield _batch(sequences, windows.person[chosen], windows.first[chosen], windows.size[chosen], future)


def _batch(
    sequences: Sequences,
    person: NDArray[np.int64],
    first: NDArray[np.int64],
    size: NDArray[np.int64],
    future: int,
) -> WindowBatch:
    position = np.arange(size.max())
    inside = position < size[:, None]
    place = sequences.start[person, None] + first[:, None] + position
    end = sequences.start[person + 1, None, None]
    following = place[..., None] + 1 + np.arange(future)
    most = len(sequences.item) - 1
    items = np.where(inside, sequences.item[np.minimum(place, most)], 0)
    targets = np.where(inside[..., None] & (following < end), sequences.item[np.minimum(following, most)], 0)
    return WindowBatch(items.astype(np.int64), size, np.where(inside, place, 0), targets.astype(np.int64))
