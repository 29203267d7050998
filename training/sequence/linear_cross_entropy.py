"""Cross-entropy of soft targets over a whole catalogue, without ever holding the scores of all positions.

Scores, softmax and the three gradients are made for one block of positions at a time in one buffer: on a processor the
time goes into memory, not into arithmetic. 12,800 positions over 3,416 items would take 175 MB for every copy of the
scores that automatic differentiation keeps.
"""

from typing import Any

import torch

BLOCK = 1024  # positions whose scores are held at once


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        table: torch.Tensor,
        bias: torch.Tensor,
        targets: torch.Tensor,
        share: torch.Tensor,
        correction: torch.Tensor | None,
        taken: torch.Tensor | None,
    ) -> torch.Tensor:
        count = len(hidden)
        to_hidden, to_table, to_bias = torch.empty_like(hidden), torch.zeros_like(table), torch.zeros_like(bias)
        buffer = torch.empty(min(BLOCK, count), len(table), dtype=hidden.dtype, device=hidden.device)
        total = hidden.new_zeros(())
        for first in range(0, count, BLOCK):
            rows = slice(first, first + BLOCK)
            some, wanted, weight = hidden[rows], targets[rows], share[rows]
            scores = torch.addmm(bias, some, table.T, out=buffer[: len(some)])
            own = scores.gather(1, wanted)
            total -= (own * weight).sum()
            if correction is not None:
                scores.sub_(correction)
            if taken is not None:
                scores.masked_fill_(taken[rows], -torch.inf)
            scores.scatter_(1, wanted, own)
            highest = scores.amax(1, keepdim=True)
            mass = scores.sub_(highest).exp_().sum(1, keepdim=True)
            total += (mass.log() + highest).sum()
            error = scores.div_(mass).scatter_add_(1, wanted, -weight)
            torch.mm(error, table, out=to_hidden[rows])
            to_table.addmm_(error.T, some)
            to_bias += error.sum(0)
        ctx.save_for_backward(to_hidden / count, to_table / count, to_bias / count)
        return total / count

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = gradients
        to_hidden, to_table, to_bias = ctx.saved_tensors
        return to_hidden * gradient, to_table * gradient, to_bias * gradient, None, None, None, None


def linear_cross_entropy(
    hidden: torch.Tensor,
    table: torch.Tensor,
    bias: torch.Tensor,
    targets: torch.Tensor,
    share: torch.Tensor,
    correction: torch.Tensor | None = None,
    taken: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean over positions of -sum share * log softmax(hidden @ table.T + bias)[targets].

    With a correction, a position's softmax has the scores of all but its own targets lowered by it. Taken items compete
    with nothing unless they are its targets.

    Args:
        hidden: float [N, width].
        table: float [items + 1, width].
        bias: float [items + 1].
        targets: int64 [N, F].
        share: float [N, F], each row sums to 1.
        correction: float [items + 1], infinite for an item that competes with nothing; none without.
        taken: bool [N, items + 1]; none without.

    Returns:
        A scalar; differentiable once, by hidden, table and bias.
    """
    return _LinearCrossEntropy.apply(hidden, table, bias, targets, share, correction, taken)
