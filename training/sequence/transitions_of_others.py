"""Transitions without one's own: what others took after the same items, for labels of the events that were counted.

A count over the training log holds each of its events itself, so that there it foresees better than it ever will again,
best after rare items. Whoever learns from labels with such counts in them learns to trust them too far. Here each event
is asked as if what it and its neighbours added had never been counted (leave-one-out).
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from training.sequence.rules import GAPS, follow_counts
from training.sequence.sequences import Sequences
from training.sequence.transitions import FLOOR, asking_weights

LEAST_COUNT = 0.5 / GAPS  # half of the smallest count that there is: below it is rounding


@dataclass(frozen=True)
class TransitionsOfOthers:
    sequences: Sequences
    counts: sp.csr_matrix  # float32 [items + 1, items + 1], see `training.sequence.rules.follow_counts`
    sums: NDArray[np.float32]  # [items + 1] of its rows
    end: NDArray[np.int64]  # [events] where the person of each event ends

    @classmethod
    def of(cls, sequences: Sequences) -> "TransitionsOfOthers":
        counts = follow_counts(sequences)
        end = np.repeat(sequences.start[1:], sequences.sizes())
        return cls(sequences, counts, np.asarray(counts.sum(1)).ravel(), end)

    def log_shares(self, event: NDArray[np.int64]) -> torch.Tensor:
        """float32 [n, items + 1]: as `Transitions.log_shares` after each event, without what the places asked added.

        Args:
            event: int64 [n], numbers of events.
        """
        latest = self.sequences.up_to(event, GAPS)[:, ::-1]
        row, gap = np.nonzero(latest)
        place, item = event[row] - gap, latest[row, gap]
        after = place[:, None] + np.arange(1, GAPS + 1)  # of each place asked: what its own person took then
        own = np.where(after < self.end[place, None], 1.0 / np.arange(1, GAPS + 1), 0.0)
        left = self.sums[item] - own.sum(1)
        weight = asking_weights(latest > 0)[row, gap]
        factor = np.where(left > LEAST_COUNT, weight / np.maximum(left, LEAST_COUNT), 0.0)
        shape = (len(event), self.counts.shape[0])
        asked = sp.csr_matrix((factor.astype(np.float32), (row, item)), shape=shape)
        followed = self.sequences.item[np.minimum(after, len(self.sequences.item) - 1)]
        added = (own * factor[:, None]).astype(np.float32).ravel()
        own_share = sp.csr_matrix((added, (np.repeat(row, GAPS), followed.ravel())), shape=shape)
        shares = (asked @ self.counts - own_share).toarray()
        return torch.log(torch.from_numpy(shares.clip(0.0)) + FLOOR)
