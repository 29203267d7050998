"""How much is made of transitions: one number, set on what came after a model's training."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.cases import Cases
from training.evaluation import BATCH, CUTOFF, ndcg_of_hits

HEEDS = (0.0, 0.25, 0.5, 0.75, 1.0)

ScoreRows = Callable[[NDArray[np.int64]], torch.Tensor]
"""Rows of some cases -> float32 [m, items + 1]."""


@dataclass(frozen=True)
class Choice:
    """n histories by which a heed is chosen."""

    scores: torch.Tensor  # float32 [n, items + 1] without transitions
    log_shares: torch.Tensor  # float32 [n, items + 1], see `training.sequence.transitions`
    wanted: torch.Tensor  # bool [n, items + 1], what came
    hidden: torch.Tensor  # bool [n, items + 1], what is not asked for


def choices_of(cases: Cases, scores: ScoreRows, log_shares: ScoreRows) -> Iterator[Choice]:
    """Cases in which items are to be foreseen that the person has not had."""
    for first in range(0, len(cases), BATCH):
        rows = np.arange(first, min(first + BATCH, len(cases)))
        had = torch.from_numpy(cases.weights[rows].toarray() > 0)
        wanted = torch.from_numpy(cases.targets[rows].toarray() > 0)
        yield Choice(scores(rows), log_shares(rows), wanted & ~had, had)


def best_heed(choices: Iterable[Choice]) -> float:
    """The one of `HEEDS` with the greatest NDCG at 10 averaged over histories, 0 where nothing was wanted."""
    found: list[list[NDArray[np.float64]]] = [[] for _ in HEEDS]
    for one in choices:
        hidden = one.hidden.clone()
        hidden[:, 0] = True
        wanted = one.wanted.sum(1).numpy()
        for heed, gains in zip(HEEDS, found, strict=True):
            scores = (one.scores + heed * one.log_shares).masked_fill(hidden, -torch.inf)
            best = scores.topk(min(CUTOFF, scores.shape[1]), dim=1).indices
            gains.append(ndcg_of_hits(one.wanted.gather(1, best).numpy(), wanted)[wanted > 0])
    means = [np.concatenate(gains).mean() if any(map(len, gains)) else 0.0 for gains in found]
    return HEEDS[int(np.argmax(means))]
