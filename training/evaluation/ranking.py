"""Quality of one list of ten items, the best of the whole catalogue; no sampled metrics.

NDCG with binary gains and the ideal over min(10, targets): Jarvelin and Kekalainen 2002. Reciprocal rank of the first
target, 0 where it is not among the ten: Voorhees 1999.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from training.cases import Cases

CUTOFF = 10
_DISCOUNT = 1.0 / np.log2(np.arange(2, CUTOFF + 2))
_IDEAL = np.cumsum(_DISCOUNT)


def top_items(scores: NDArray[np.float32] | torch.Tensor) -> NDArray[np.int64]:
    """int64 [n, CUTOFF]: the best items of each row, padding never among them."""
    scores = torch.as_tensor(scores)
    return (scores[:, 1:].topk(min(CUTOFF, scores.shape[1] - 1), dim=1).indices + 1).numpy()


def gains(top: NDArray[np.integer], cases: Cases, rows: NDArray[np.int64], new_only: bool) -> NDArray[np.float64]:
    """NDCG, recall, reciprocal rank and hit rate at 10 of some cases.

    Args:
        top: int [n, up to CUTOFF], best first, 0 where nothing is left to recommend.
        cases: the task.
        rows: int64 [n], which cases.
        new_only: only targets the person never bought count.

    Returns:
        float64 [4, n]: in this order; NaN where the case has no target.
    """
    targets = cases.targets[rows].toarray() > 0
    if new_only:
        seen = cases.weights[rows].tocoo()
        targets[seen.row, seen.col] = False
    targets[:, 0] = False
    hits = np.take_along_axis(targets, top.astype(np.int64), axis=1)
    wanted = targets.sum(1)
    possible = np.where(wanted, wanted, np.nan)
    place = np.where(hits.any(1), hits.argmax(1) + 1.0, np.inf)
    asked = np.where(wanted, 1.0, np.nan)
    return np.stack([ndcg_of_hits(hits, wanted), hits.sum(1) / possible, asked / place, asked * hits.any(1)])


def ndcg_of_hits(hits: NDArray[np.bool_], wanted: NDArray[np.integer]) -> NDArray[np.float64]:
    """NDCG at 10 of rankings whose hits are known.

    Args:
        hits: bool [n, up to CUTOFF], best first.
        wanted: int [n], number of targets.

    Returns:
        float64 [n], NaN where nothing was wanted.
    """
    possible = np.minimum(wanted, CUTOFF)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (hits * _DISCOUNT[: hits.shape[1]]).sum(1) / np.where(possible, _IDEAL[possible - 1], np.nan)
