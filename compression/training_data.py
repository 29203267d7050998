"""Batches of what the device model is distilled from: histories, baskets, and the teacher's soft labels."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.examples import Examples
from training.sampled_softmax import draw_candidates
from training.soft_labels import SoftLabels

MAX_TARGETS = 32  # of one basket; a larger one is cut, which one batch in a hundred sees


@dataclass(frozen=True)
class DistillationBatch:
    """B examples over N shared candidates, in fixed shapes so that a graph is traced once."""

    items: NDArray[np.int32]  # [B, L]
    events: NDArray[np.int32]  # [B, L]
    counts: NDArray[np.float32]  # [B, L]
    ages: NDArray[np.float32]  # [B, L]
    context: NDArray[np.int32]  # [B, C]
    candidates: NDArray[np.int32]  # [N] distinct items, then padding 0
    correction: NDArray[np.float32]  # [N] log chance of being sampled; huge at padding
    hidden: NDArray[np.int32]  # [B, L] where the history's items stand among the candidates; N where not
    target_place: NDArray[np.int32]  # [B, T] where the target stands in [history, candidates]
    target_share: NDArray[np.float32]  # [B, T] 1 / targets; 0 at padding
    query: NDArray[np.float32]  # [B, width] the teacher's
    history_scores: NDArray[np.float32]  # [B, L] the teacher's
    label_place: NDArray[np.int32]  # [B, K] where a labelled new item stands among the candidates
    label_share: NDArray[np.float32]  # [B, K]


PADDING = 1e9


def distillation_batches(
    examples: Examples, labels: SoftLabels, size: int, uniform: int, capacity: int, seed: int
) -> Iterator[DistillationBatch]:
    """Endless batches.

    Args:
        examples: n.
        labels: of the same n examples.
        size: B.
        uniform: uniform draws among the candidates.
        capacity: N.
        seed: of all draws.
    """
    rng = np.random.default_rng(seed)
    share = np.exp(labels.popularity.astype(np.float64))
    share[0] = 0.0
    share /= share.sum()
    while True:
        rows = np.sort(rng.integers(0, len(examples), size))
        batch = examples.batch(rows)
        wanted = np.concatenate([batch.target, labels.new_items[rows].ravel()]).astype(np.int64)
        drawn = draw_candidates(wanted, share, uniform, rng)
        items = np.zeros(capacity, np.int32)
        correction = np.full(capacity, PADDING, np.float32)
        kept = min(capacity, len(drawn.items))
        items[:kept], correction[:kept] = drawn.items[:kept], drawn.correction[:kept]
        position = np.where(drawn.position < kept, drawn.position, capacity)
        length = batch.histories.items.shape[1]
        place = np.zeros((size, MAX_TARGETS), np.int32)
        target_share = np.zeros((size, MAX_TARGETS), np.float32)
        order = np.arange(len(batch.example)) - np.searchsorted(batch.example, batch.example)
        found = np.where(batch.place >= 0, batch.place, length + position[batch.target])
        fits = (order < MAX_TARGETS) & (found < length + capacity)
        place[batch.example[fits], order[fits]] = found[fits]
        target_share[batch.example[fits], order[fits]] = batch.share[fits]
        label_place = position[labels.new_items[rows]]
        known = label_place < capacity
        histories = batch.histories
        yield DistillationBatch(
            items=histories.items,
            events=histories.events,
            counts=histories.counts,
            ages=histories.ages,
            context=histories.context,
            candidates=items,
            correction=correction,
            hidden=np.where(histories.items > 0, position[histories.items], capacity).astype(np.int32),
            target_place=place,
            target_share=target_share,
            query=labels.query[rows],
            history_scores=labels.history_scores[rows],
            label_place=np.where(known, label_place, 0).astype(np.int32),
            label_share=labels.new_share[rows] * known,
        )
