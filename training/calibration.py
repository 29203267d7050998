"""How high the copy head stands over the catalogue: one number, set on the validation weeks.

Labels of new items are concentrated on a few, the new items that people buy are not: trained scores of new items stand
too high against those of the history. Which order either has within itself does not depend on that number.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from training.cases import Cases
from training.evaluation import BATCH, CUTOFF, by_person, ndcg_of_hits

OFFSETS = np.arange(-4.0, 12.01, 0.5)

Encoded = Callable[[NDArray[np.int64]], tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
"""Rows of the cases -> score of every item [m, items + 1], items of the history int64 [m, L], their scores [m, L]."""


def best_offset(encoded: Encoded, cases: Cases, people: int) -> float:
    """The offset on the history's scores that ranks the cases' baskets best, by NDCG at 10 averaged over people."""
    found = np.full((len(OFFSETS), len(cases)), np.nan)
    for first in range(0, len(cases), BATCH):
        rows = np.arange(first, min(first + BATCH, len(cases)))
        scores, history, own = encoded(rows)
        targets = torch.from_numpy(cases.targets[rows].toarray() > 0)
        scores = scores.clone().scatter_(1, history, -torch.inf)
        scores[:, 0] = -torch.inf
        own = own.masked_fill(history == 0, -torch.inf)
        new_best = scores.topk(min(CUTOFF, scores.shape[1]), dim=1)
        own_best = own.topk(min(CUTOFF, own.shape[1]), dim=1)
        hits = torch.cat(
            [targets.gather(1, history.gather(1, own_best.indices)), targets.gather(1, new_best.indices)], 1
        )
        wanted = targets.sum(1).numpy()
        for number, offset in enumerate(OFFSETS):
            order = torch.cat([own_best.values + offset, new_best.values], 1).topk(CUTOFF, dim=1).indices
            found[number, rows] = ndcg_of_hits(hits.gather(1, order).numpy(), wanted)
    means = [np.nanmean(by_person(values, cases.person, people)) for values in found]
    return float(OFFSETS[int(np.argmax(means))])
