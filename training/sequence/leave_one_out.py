"""Full-ranking leave-one-out evaluation: where the held-out item stands among all that the person has not seen."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from training.evaluation import CUTOFF, ndcg_of_hits
from training.sequence.sequences import Sequences

BATCH = 256

ScoreRecent = Callable[[NDArray[np.int32]], torch.Tensor]
"""int32 [n, length] most recent items, padding first -> float32 [n, items + 1]."""


def ranks(score: ScoreRecent, sequences: Sequences, held_out: int, length: int) -> NDArray[np.int64]:
    """int64 [people]: 0-based rank of the held-out item among the items that the person's earlier events lack.

    Items of the same score as the target count as before it, so that a constant model gains nothing.

    Args:
        score: the model.
        sequences: whole ones.
        held_out: 1 for test, 2 for validation.
        length: of the histories that the model reads; whatever was seen before them is removed all the same.
    """
    before, target = sequences.without_last(held_out), sequences.held_out(held_out)
    recent = before.last(length)
    found = np.zeros(len(sequences), np.int64)
    order = np.argsort(before.sizes(), kind="stable")  # like lengths together: less padding to compute
    for first in range(0, len(order), BATCH):
        people = order[first : first + BATCH]
        scores = score(recent[people]).clone()
        scores[:, 0] = -torch.inf
        wanted = torch.from_numpy(target[people].astype(np.int64))[:, None]
        mark = scores.gather(1, wanted)
        for row, person in enumerate(people):
            scores[row, torch.from_numpy(before.of(person).astype(np.int64))] = -torch.inf
        scores.scatter_(1, wanted, -torch.inf)  # not ahead of itself; seen before or not, it is what is asked for
        found[people] = (scores >= mark).sum(1).numpy()
    return found


def ndcg_of_ranks(rank: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 [people]: NDCG at 10 of one relevant item each."""
    return ndcg_of_hits(rank[:, None] == np.arange(CUTOFF), np.ones(len(rank), np.int64))


def hits_of_ranks(rank: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 [people]: hit rate at 10."""
    return (rank < CUTOFF).astype(np.float64)
