"""Cross-entropy of a basket over the whole catalogue, estimated from the history and a sample of everything else.

Candidates are the example's history (all of it: the copy head competes there) and, shared by the batch, its targets and uniform draws. A
sampled score is lowered by the logarithm of its chance of being sampled, which makes the sum an estimate of the
full one (Bengio and Senecal 2008; the logQ correction of Yi et al., RecSys 2019).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from training.examples import Batch

MASKED = -1e9


@dataclass(frozen=True)
class Candidates:
    """Items shared by a batch."""

    items: NDArray[np.int64]  # [N] increasing
    correction: NDArray[np.float32]  # [N] log of the chance that the item is among them
    position: NDArray[np.int64]  # [items + 1] where an item stands in `items`; N where it does not


def draw_candidates(
    targets: NDArray[np.int64], popularity: NDArray[np.float64], uniform: int, rng: np.random.Generator
) -> Candidates:
    """The batch's targets and `uniform` uniform draws.

    Args:
        targets: int64 [T], from 1.
        popularity: float64 [items + 1], the distribution that targets come from; sums to 1.
        uniform: number of uniform draws.
        rng: source of the draws.
    """
    count = len(popularity) - 1
    items = np.union1d(targets, rng.integers(1, count + 1, uniform))
    missed = len(targets) * np.log1p(-popularity[items]) + uniform * np.log1p(-1.0 / max(count, 2))
    position = np.full(count + 1, len(items), np.int64)
    position[items] = np.arange(len(items))
    return Candidates(items, np.log(-np.expm1(missed)).astype(np.float32), position)


def basket_loss(
    batch: Batch,
    candidates: Candidates,
    query: torch.Tensor,
    base: torch.Tensor,
    gain: torch.Tensor,
    vectors: torch.Tensor,
    bias: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses over all items and over new items only, averaged over baskets.

    Args:
        batch: B examples with T targets.
        candidates: N shared candidates.
        query: float32 [B, width].
        base, gain: float32 [B, L], of the history's items.
        vectors: float32 [N, width], of the candidates.
        bias: float32 [N].
    """
    history = torch.from_numpy(batch.histories.items).long()
    scores = query @ vectors.T + bias
    sampled = scores - torch.from_numpy(candidates.correction)
    places = torch.from_numpy(candidates.position)[history]
    hidden = torch.zeros(len(query), len(candidates.items) + 1).scatter_(1, places, MASKED)[:, :-1]
    new_total = (sampled + hidden).logsumexp(1)
    own = (base + gain).masked_fill(history == 0, MASKED)
    total = torch.logaddexp(new_total, own.logsumexp(1))
    example = torch.from_numpy(batch.example)
    share = torch.from_numpy(batch.share)
    is_new = torch.from_numpy(batch.place < 0)
    column = torch.from_numpy(candidates.position[batch.target])
    known = own[example, torch.from_numpy(np.maximum(batch.place, 0))]
    value = torch.where(is_new, scores[example, column], known)
    everything = ((total[example] - value) * share).sum() / len(query)
    new = ((new_total[example] - value) * share)[is_new].sum() / len(query)
    return everything, new
