"""Loss of a batch of windows: among all that a person has not taken, or, in a large catalogue, among items drawn.

What was taken before is never asked for again. A softmax that holds it spends the model on shunning the history, beside
which what follows lies (docs/decisions.md has what that costs).

The score of a drawn item is lowered by the logarithm of its chance of being drawn, so that the sum over the drawn
estimates the sum over all (Bengio and Senecal 2008). Draws know nothing of the batch: its targets stand together in
windows, and as draws for one another they would count far more often than by chance. A position's own target is there
for certain and is not lowered (Khrylchenko et al., RecSys 2025, arXiv:2507.09331).
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 the name everyone knows
from numpy.typing import NDArray

from training.sampled_softmax import Candidates, draw_candidates
from training.sequence.linear_cross_entropy import linear_cross_entropy
from training.sequence.sequences import Sequences
from training.sequence.transformer import NextItemTransformer
from training.sequence.windows import WindowBatch


@dataclass(frozen=True)
class Sampler:
    """Draws items, some as often as they are targets, some uniformly."""

    targets: NDArray[np.int32]  # [T] of all people
    popularity: NDArray[np.float64]  # [items + 1] each item's share of them
    uniform: int  # draws

    @classmethod
    def of(cls, sequences: Sequences, uniform: int) -> "Sampler":
        targets = np.delete(sequences.item, sequences.start[:-1][sequences.sizes() > 0])
        counts = np.bincount(targets, minlength=sequences.items + 1)
        return cls(targets, counts / len(targets), uniform)

    def draw(self, popular: int, rng: np.random.Generator) -> Candidates:
        """`popular` targets of anybody and the uniform draws."""
        return draw_candidates(rng.choice(self.targets, popular), self.popularity, self.uniform, rng)


def batch_loss(
    model: NextItemTransformer,
    batch: WindowBatch,
    sequences: Sequences,
    future: tuple[float, ...],
    drawn: Candidates | None = None,
    mixed_precision: bool = False,
) -> torch.Tensor:
    """Mean over positions of the cross-entropy of what follows them.

    Args:
        model: whose hidden states are compared with its table.
        batch: of windows with at least one position.
        sequences: from which the windows are cut.
        future: weights of the next item, the one after it, ...
        drawn: what targets are compared with, but for what was taken; the whole catalogue without.
        mixed_precision: bfloat16 in the model's matrix products; the loss is always of float32.
    """
    device = model.bias.device
    known = batch.targets[..., 0] > 0
    found = batch.targets[known]
    targets = torch.from_numpy(found).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision):
        hidden = model(torch.from_numpy(batch.items).to(device), torch.from_numpy(batch.size).to(device))
    hidden = hidden[torch.from_numpy(known).to(device)].float()
    share = torch.tensor(future, device=device) * (targets > 0)
    share = share / share.sum(1, keepdim=True)
    if drawn is None:
        taken = torch.from_numpy(sequences.taken_before(batch.event[known])).to(device)
        return linear_cross_entropy(hidden, model.table.weight, model.bias, targets, share, None, taken)
    present = np.where(found > 0, found, found[:, :1])  # beyond the end of a sequence the share is 0, whatever the item
    items = np.union1d(drawn.items, present)
    correction = np.full(len(items), np.inf, np.float32)  # a target that nobody drew is compared with nobody else's
    correction[np.searchsorted(items, drawn.items)] = drawn.correction
    columns = torch.from_numpy(items).to(device)
    return linear_cross_entropy(
        hidden,
        F.embedding(columns, model.table.weight),
        model.bias[columns],
        torch.from_numpy(np.searchsorted(items, present)).to(device),
        share,
        torch.from_numpy(correction).to(device),
        torch.from_numpy(sequences.taken_before(batch.event[known], items)).to(device),
    )
