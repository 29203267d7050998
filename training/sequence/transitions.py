"""What follows what, counted, and how much is made of it.

A transformer generalises; that people who took this one often take that one next, a count knows exactly. The logarithm
of the counted share, added to the transformer's scores at a height that validation chooses, ranks better than either:
an expert more in a product of experts (Hinton 2002).
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from training.sequence.rules import GAPS, follow_counts
from training.sequence.sequences import Sequences
from training.sequence.transformer import NextItemTransformer

FLOOR = 1e-3  # share that every item gets: what was never seen to follow may follow all the same


def asking_weights(known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How much each of the last few items is asked, the latest first: 1 / gap, a row summing to 1, or 0 where none is.

    Args:
        known: bool [n, gaps], which of them there are.
    """
    weight = known / np.arange(1, known.shape[1] + 1)
    return weight / np.maximum(weight.sum(1, keepdims=True), 1e-9)


@dataclass(frozen=True)
class Transitions:
    """Shares of what came up to `GAPS` events after each item, an event weighing 1 / gap."""

    shares: sp.csr_matrix  # float32 [items + 1, items + 1], each row sums to 1, or is empty

    @classmethod
    def of(cls, sequences: Sequences) -> "Transitions":
        counts = follow_counts(sequences)
        sums = np.asarray(counts.sum(1)).ravel()
        return cls((sp.diags((1.0 / np.where(sums > 0, sums, 1.0)).astype(np.float32)) @ counts).tocsr())

    def log_shares(self, recent: NDArray[np.int32]) -> torch.Tensor:
        """float32 [n, items + 1]: log(`FLOOR` + mean share after the last `GAPS` items, an item weighing 1 / gap).

        Args:
            recent: int32 [n, length], the latest item last, 0 before the first.
        """
        return torch.log(torch.from_numpy((self._asked(recent) @ self.shares).toarray()) + FLOOR)

    def _asked(self, recent: NDArray[np.int32]) -> sp.csr_matrix:
        """float32 [n, items + 1], whom to ask, each row summing to 1 or empty."""
        latest = recent[:, : -GAPS - 1 : -1]
        weight = asking_weights(latest > 0)
        row, column = np.nonzero(latest)
        return sp.csr_matrix(
            (weight[row, column].astype(np.float32), (row, latest[row, column])),
            shape=(len(recent), self.shares.shape[0]),
        )

    def strongest(self, most: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Of each item those that follow it most often, [items + 1, most], and their shares; 0 where there are fewer.

        Of equal shares the lower number comes first.
        """
        size = self.shares.shape[0]
        items, shares = np.zeros((size, most), np.int32), np.zeros((size, most), np.float32)
        for item in range(size):
            row = slice(self.shares.indptr[item], self.shares.indptr[item + 1])
            after, share = self.shares.indices[row], self.shares.data[row]
            chosen = np.lexsort((after, -share))[:most]
            items[item, : len(chosen)], shares[item, : len(chosen)] = after[chosen], share[chosen]
        return items, shares


@dataclass(frozen=True)
class NextItemTeacher:
    """The transformer with the transitions beside it."""

    transformer: NextItemTransformer
    transitions: Transitions
    heed: float  # how much is made of the transitions, 0 for nothing

    def scores(self, recent: NDArray[np.int32]) -> torch.Tensor:
        """float32 [n, items + 1], as `NextItemTransformer.scores`."""
        scores = self.transformer.scores(recent)
        return scores + self.heed * self.transitions.log_shares(recent) if self.heed else scores
