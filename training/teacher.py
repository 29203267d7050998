"""The teacher: a self-attentive sequence model, trained centrally (Kang and McAuley 2018, arXiv:1808.09781).

It reads the same history as the device model (distinct items with counts and ages, in order of time), but lets the
most recent attend to each other, and it knows what the items are: a vector is the sum of the item's own and those of
its category, department, brand and, where asked, price band, so that what is learned of a few items speaks for their
kind. Like the device model it answers with a query over the catalogue and with what a copy head adds to the items of
the history.

An item's popularity is fixed at that of the training weeks: a learned one follows which items were new in those weeks
(promotions, a season), and ranks the new items of later weeks worse.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 the name everyone knows
from numpy.typing import NDArray
from torch import nn

from contracts.errors import ConfigError
from training.attributes import attribute_values
from training.histories import Histories
from training.prepared import Items

DAY, WEEK = 24.0, 168.0  # hours
NUMBERS = 4


@dataclass(frozen=True)
class TeacherShape:
    width: int = 62  # two less than the device model's table, which keeps two columns for biases
    blocks: int = 1
    heads: int = 2
    dropout: float = 0.2
    recent: int = 64  # the most recent items attend to each other; all of the history is pooled
    price_bands: int = 0  # see `training.attributes`; 0: the price is no attribute

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(
                f"teacher vectors of width {self.width} have no {self.heads} equal heads: take another [model] width"
            )


def attribute_codes(items: Items, bands: int = 0) -> NDArray[np.int64]:
    """int64 [attributes, items + 1]: codes of category, department, brand and price band; 0 is padding's."""
    columns = []
    for values in attribute_values(items, bands):
        _, codes = np.unique(np.array(values[1:], dtype=str), return_inverse=True)
        columns.append(np.concatenate([[0], codes + 1]))
    return np.stack(columns).astype(np.int64)


class Block(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, shape: TeacherShape) -> None:
        super().__init__()
        width = shape.width
        self.heads, self.dropout = shape.heads, shape.dropout
        self.attention_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        parts = self.query_key_value(self.attention_norm(x))
        q, k, v = parts.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None, :])
        x = x + F.dropout(self.out(mixed.transpose(1, 2).reshape(batch, length, width)), self.dropout, self.training)
        return x + F.dropout(self.feed(self.feed_norm(x)), self.dropout, self.training)


class Teacher(nn.Module):
    """Query over the catalogue and copy head over the history, from a batch of histories."""

    def __init__(self, shape: TeacherShape, attributes: NDArray[np.int64], popularity: NDArray[np.floating]) -> None:
        """A new teacher.

        Args:
            shape: widths and depths.
            attributes: int64 [attributes, items + 1], see `attribute_codes`.
            popularity: float [items + 1], counts of the training weeks.
        """
        super().__init__()
        width, items = shape.width, attributes.shape[1]
        self.shape = shape
        self.own = nn.Embedding(items, width)
        self.kinds = nn.ModuleList(nn.Embedding(int(codes.max()) + 1, width) for codes in attributes)
        nn.init.normal_(self.own.weight, std=0.02)
        for table in self.kinds:
            nn.init.normal_(table.weight, std=0.05)
        self.register_buffer("attributes", torch.from_numpy(attributes))
        share = (popularity + 1.0) / (popularity.sum() + items)
        self.register_buffer("popularity", torch.tensor(np.log(share), dtype=torch.float32))  # fixed: see the module
        self.repeat = nn.Parameter(torch.zeros(items))
        self.describe = nn.Sequential(nn.Linear(NUMBERS, 32), nn.GELU(), nn.Linear(32, width))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.blocks))
        self.token_norm, self.query_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, shape.heads))
        self.values = nn.Linear(width, width)
        self.mix = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.query = nn.Linear(width, width)
        self.copy = nn.Sequential(nn.Linear(NUMBERS + 2, 32), nn.GELU(), nn.Linear(32, 1))
        self.copy_linear = nn.Linear(NUMBERS + 2, 1)
        self._start_from_frequency()

    def _start_from_frequency(self) -> None:
        """Begin as the person's own frequency with popularity below it, so that training can only add to both."""
        with torch.no_grad():
            for layer in (self.query, self.copy[-1], self.copy_linear):
                layer.weight.zero_()
                layer.bias.zero_()
            self.copy_linear.weight[0, 0] = 1.0  # the logarithm of the count
            self.copy_linear.weight[0, NUMBERS + 1] = 1.0

    def start_from(self, vectors: NDArray[np.float32]) -> None:
        """Add item vectors, float32 [items + 1, width], to the random ones that training would start from."""
        with torch.no_grad():
            self.own.weight += torch.from_numpy(vectors)

    def catalogue(self) -> torch.Tensor:
        """float32 [items + 1, width]: the vector of every item."""
        vectors = self.own.weight
        for codes, table in zip(self.attributes, self.kinds, strict=True):
            vectors = vectors + table(codes)
        return vectors

    def forward(
        self,
        catalogue: torch.Tensor,
        items: torch.Tensor,
        counts: torch.Tensor,
        ages: torch.Tensor,
        drop: float = 0.0,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode histories.

        Args:
            catalogue: float32 [items + 1, width], made once for a batch.
            items: int64 [B, L], 0 is padding.
            counts: float32 [B, L].
            ages: float32 [B, L], hours.
            drop: chance of a token to be hidden from the query, while training.

        Returns:
            query float32 [B, width]; base score of each item of the history [B, L]; what the copy head adds [B, L].
        """
        present = items > 0
        features = torch.stack(
            [torch.log(counts + 0.02), torch.log1p(ages / DAY), torch.exp(-ages / WEEK), torch.log1p(counts)], -1
        )
        features = features * present[..., None]
        vectors = F.embedding(items, catalogue)
        x = F.dropout(vectors + self.describe(features), self.shape.dropout, self.training)
        seen = present & (torch.rand(items.shape, device=items.device) >= drop) if drop else present
        attended = seen.clone()
        attended[:, -1] = True  # an empty history attends to its padding
        recent = x[:, -self.shape.recent :]
        for block in self.blocks:
            recent = block(recent, attended[:, -self.shape.recent :])
        x = self.token_norm(torch.cat([x[:, : -self.shape.recent], recent], 1))
        batch, length, width = x.shape
        weights = self.attention(x).masked_fill(~attended[..., None], -1e4).softmax(1) * seen[..., None]
        pooled = (
            (weights[..., None] * self.values(x).view(batch, length, -1, width // self.shape.heads))
            .sum(1)
            .reshape(batch, width)
        )
        pooled = pooled + self.mix(F.dropout(pooled, self.shape.dropout, self.training))
        query = self.query(self.query_norm(pooled))
        base = (vectors * query[:, None]).sum(-1) + self.popularity[items]
        repeat = self.repeat[items]
        likeness = 0.2 * base.detach()  # what the catalogue's scores learn is not the copy head's to change
        evidence = torch.cat([features, likeness[..., None], repeat[..., None]], -1)
        gain = (self.copy(evidence) + self.copy_linear(evidence))[..., 0] - base
        return query, base, gain * present

    @torch.no_grad()
    def parts(self, histories: Histories) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Score of every item [n, items + 1], the histories' items int64 [n, L], and the copy head's scores [n, L]."""
        self.eval()
        items, counts, ages = tensors(histories, self.popularity.device)
        catalogue = self.catalogue()
        query, base, gain = self(catalogue, items, counts, ages)
        return (query @ catalogue.T + self.popularity).cpu(), items.cpu(), (base + gain).cpu()

    def scores(self, histories: Histories) -> torch.Tensor:
        """float32 [n, items + 1]: the score of every item for every history, the copy head's where it stands there."""
        scores, items, own = self.parts(histories)
        return scores.scatter(1, items, own)


def tensors(
    histories: Histories, device: torch.device | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """int64 items, float32 counts and ages, each [n, L], on a device; by default on the CPU."""
    return (
        torch.from_numpy(histories.items).to(device).long(),
        torch.from_numpy(histories.counts).to(device),
        torch.from_numpy(histories.ages).to(device),
    )
