"""Cross-entropy of a basket over the whole catalogue, estimated from the history and a sample of everything else.

Candidates are the example's history (all of it: the copy head competes there) and, shared by the batch, its targets
and uniform draws. A sampled score is lowered by the logarithm of its chance of being sampled, which makes the sum an
estimate of the full one (Bengio and Senecal 2008; the logQ correction of Yi et al., RecSys 2019).
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


def _new_scores(batch: Batch, candidates: Candidates, scores: torch.Tensor) -> torch.Tensor:
    """float32 [B, N]: scores with each example's own history masked."""
    places = torch.from_numpy(candidates.position[batch.histories.items]).to(scores.device)
    hidden = torch.zeros(len(scores), scores.shape[1] + 1, device=scores.device).scatter_(1, places, MASKED)
    return scores + hidden[:, :-1]


def basket_loss(
    batch: Batch, candidates: Candidates, scores: torch.Tensor, base: torch.Tensor, gain: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of the baskets among all items, averaged over baskets.

    Args:
        batch: B examples with T targets.
        candidates: N shared candidates.
        scores: float32 [B, N], of the candidates, not corrected.
        base: float32 [B, L], scores of the history's items.
        gain: float32 [B, L], what the copy head adds to them.
    """
    device = scores.device
    correction = torch.from_numpy(candidates.correction).to(device)
    new_total = (_new_scores(batch, candidates, scores) - correction).logsumexp(1)
    own = (base + gain).masked_fill((torch.from_numpy(batch.histories.items) == 0).to(device), MASKED)
    total = torch.logaddexp(new_total, own.logsumexp(1))
    example = torch.from_numpy(batch.example).to(device)
    place = torch.from_numpy(np.maximum(batch.place, 0)).to(device)
    column = torch.from_numpy(candidates.position[batch.target]).to(device)
    is_new = torch.from_numpy(batch.place < 0).to(device)
    value = torch.where(is_new, scores[example, column], own[example, place])
    return ((total[example] - value) * torch.from_numpy(batch.share).to(device)).sum() / len(scores)


def new_item_loss(
    batch: Batch, candidates: Candidates, scores: torch.Tensor, items: NDArray[np.int32], share: NDArray[np.float32]
) -> torch.Tensor:
    """Cross-entropy towards soft labels among the candidates that the history lacks, averaged over examples.

    Args:
        batch: B examples.
        candidates: N shared candidates, the labels among them.
        scores: float32 [B, N], not corrected.
        items: int32 [B, K], labels.
        share: float32 [B, K], sums to 1 in each row.
    """
    new = _new_scores(batch, candidates, scores)
    columns = torch.from_numpy(candidates.position[items]).to(scores.device)
    surprise = new.logsumexp(1, keepdim=True) - new.gather(1, columns)
    return (torch.from_numpy(share).to(scores.device) * surprise).sum() / len(scores)
