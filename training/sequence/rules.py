"""What every next-item report carries: popularity, and sequence rules, which beat many neural models on sparse data."""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from training.sequence.sequences import Sequences

GAPS = 5  # events

Baseline = Callable[[NDArray[np.int32]], torch.Tensor]


def popularity(sequences: Sequences) -> Baseline:
    """Each item's number of events, whoever asks."""
    counts = torch.from_numpy(np.bincount(sequences.item, minlength=sequences.items + 1).astype(np.float32))
    return lambda recent: counts.expand(len(recent), -1)


def follow_counts(sequences: Sequences) -> sp.csr_matrix:
    """float32 [items + 1, items + 1]: how often the column's item came g events after the row's, weighted 1 / g."""
    item, size = sequences.item, sequences.items + 1
    person = np.repeat(np.arange(len(sequences)), sequences.sizes())
    counts = sp.csr_matrix((size, size), dtype=np.float32)
    for gap in range(1, GAPS + 1):
        same = person[gap:] == person[:-gap]
        pairs = (item[:-gap][same], item[gap:][same])
        counts = counts + sp.csr_matrix((np.full(len(pairs[0]), 1.0 / gap, np.float32), pairs), shape=(size, size))
    return counts


def sequence_rules(sequences: Sequences) -> Baseline:
    """Counts of who took this and g events later that, weighted 1 / g, asked of the last few items alike.

    Source: Ludewig and Jannach 2018 (arXiv:1803.09587), sequential rules.
    """
    size = sequences.items + 1
    occurrences = np.maximum(np.bincount(sequences.item, minlength=size), 1)
    rules = sp.diags((1.0 / occurrences).astype(np.float32)) @ follow_counts(sequences)

    def score(recent: NDArray[np.int32]) -> torch.Tensor:
        asked = sp.csr_matrix((len(recent), size), dtype=np.float32)
        for gap in range(1, min(GAPS, recent.shape[1]) + 1):
            column = recent[:, -gap]
            known = np.flatnonzero(column)
            weight = np.full(len(known), 1.0 / gap, np.float32)
            asked = asked + sp.csr_matrix((weight, (known, column[known])), shape=asked.shape)
        return torch.from_numpy((asked @ rules).toarray())

    return score
