"""Dropout whose coins come as bytes.

PyTorch draws a float for every entry, one after the other, which on a processor takes longer than the matrix product
beside it; one byte decides here. The rate is thereby a multiple of 1/256.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 the name everyone knows
from torch import nn

LEVELS = 256


class ByteDropout(nn.Module):
    """Dropout (Srivastava et al. 2014) with coins of a numpy generator on a processor, PyTorch's own on a GPU."""

    def __init__(self, rate: float, coins: np.random.Generator) -> None:
        """A layer.

        Args:
            rate: share of entries set to 0, below 1; rounded to a multiple of 1/256.
            coins: SFC64 is the fastest of numpy's; layers may share one.
        """
        super().__init__()
        self.dropped = round(rate * LEVELS)
        self.coins = coins

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.dropped:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.dropped / LEVELS, True)
        coins = torch.frombuffer(bytearray(self.coins.bytes(x.numel())), dtype=torch.uint8).view(x.shape)
        return x * ((coins >= self.dropped).to(x.dtype) * (LEVELS / (LEVELS - self.dropped)))
