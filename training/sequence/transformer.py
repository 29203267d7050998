"""A causal transformer over sequences of items (Kang and McAuley 2018, arXiv:1808.09781), pre-norm.

One table embeds the history and scores the catalogue. Positions are counted from the end of the sequence, so that the
most recent item has the same place in a short history and in a long one.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 the name everyone knows
from numpy.typing import NDArray
from torch import nn

from contracts.errors import ConfigError
from training.sequence.dropout import ByteDropout

INITIAL_DEVIATION = 0.02
COINS = 0  # of dropout before a seed is given


@dataclass(frozen=True)
class TransformerShape:
    width: int = 128
    blocks: int = 3
    heads: int = 4
    length: int = 200  # most positions of a history
    dropout: float = 0.3
    feed: int = 4  # the feed-forward layer is this times as wide

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(
                f"width {self.width} is no multiple of {self.heads} heads: take a multiple of {self.heads}"
            )


class CausalBlock(nn.Module):
    def __init__(self, shape: TransformerShape, dropout: ByteDropout) -> None:
        super().__init__()
        width = shape.width
        self.heads, self.dropout = shape.heads, dropout
        self.attention_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed_in, self.feed_out = nn.Linear(width, shape.feed * width), nn.Linear(shape.feed * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        parts = self.query_key_value(self.attention_norm(x))
        q, k, v = parts.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, length, width)
        x = x + self.dropout(self.out(mixed))
        hidden = self.dropout(F.gelu(self.feed_in(self.feed_norm(x)), approximate="tanh"))
        return x + self.dropout(self.feed_out(hidden))


class NextItemTransformer(nn.Module):
    """What comes next, at every position of a history."""

    def __init__(self, shape: TransformerShape, items: int) -> None:
        super().__init__()
        self.shape, self.items = shape, items
        self.dropout = ByteDropout(shape.dropout, np.random.Generator(np.random.SFC64(COINS)))
        self.table = nn.Embedding(items + 1, shape.width)
        self.position = nn.Embedding(shape.length, shape.width)
        self.blocks = nn.ModuleList(CausalBlock(shape, self.dropout) for _ in range(shape.blocks))
        self.norm = nn.LayerNorm(shape.width)
        self.bias = nn.Parameter(torch.zeros(items + 1))
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=INITIAL_DEVIATION)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, items: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """Hidden states, float32 [B, T, width], of histories int64 [B, T] of `size` int64 [B] items, padded behind."""
        order = self.shape.length - size[:, None] + torch.arange(items.shape[1], device=items.device)
        x = self.table(items) * self.shape.width**0.5 + self.position(order.clamp(max=self.shape.length - 1))
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    @torch.no_grad()
    def scores(self, recent: NDArray[np.int32]) -> torch.Tensor:
        """float32 [n, items + 1]: scores of all items.

        Args:
            recent: int32 [n, length], the latest item last, 0 before the first; an empty history is all 0.
        """
        self.eval()
        device = self.bias.device
        size = np.maximum((recent > 0).sum(1), 1)
        longest = int(size.max())
        place = recent.shape[1] - size[:, None] + np.arange(longest)
        shifted = np.take_along_axis(recent, np.minimum(place, recent.shape[1] - 1), axis=1)
        shifted[np.arange(longest) >= size[:, None]] = 0
        lengths = torch.from_numpy(size).to(device)
        hidden = self(torch.from_numpy(shifted).long().to(device), lengths)
        last = hidden[torch.arange(len(size), device=device), lengths - 1]
        return (last @ self.table.weight.T + self.bias).float().cpu()
