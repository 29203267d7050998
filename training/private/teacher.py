"""The private teacher: what was released once (popularity, pairs) and a small encoder that DP-SGD refines.

Noise grows with the square root of what is trained. So little is trained: how evidence from the noisy pairs is weighed,
how the history is pooled into a query, how often things are bought again. The item tables start from the pairs'
spectrum. Input and output tables are two: ghost clipping needs a person's gradient of each layer by itself, which tied
tables do not have.

Every layer sees [people, places, width], so that a layer's gradient of one person is well defined.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 the name everyone knows
from numpy.typing import NDArray
from opacus.grad_sample import register_grad_sampler
from torch import nn

from training.histories import Histories
from training.private.statistics import Neighbours

DAY, WEEK = 24.0, 168.0  # hours
RANK_DECAYS = (0.5, 0.8, 0.95)  # evidence of the r-th most recent item weighs decay ** r
FEATURES = 5 + len(RANK_DECAYS)
KINDS = 2  # in which a neighbour's closeness is read: all of it, and what stands above twice the noise
HIDDEN = 16
BATCH = 256
LEFT_OUT = -1e4  # the logit of what is not to be shown


@dataclass(frozen=True)
class PrivateShape:
    width: int = 16
    recent: int = 24  # most recent items of the history: what is asked what comes next
    neighbours: int = 64  # of each item
    repeats: bool = True  # whether people take an item again; where they do not, those of the history are left out


class Blend(nn.Module):
    """What is popular and what the neighbours vote for: a * popularity + w * log(1 + exp(c) * votes)."""

    def __init__(self, popularity: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("popularity", popularity)
        self.parts = nn.Parameter(torch.tensor([0.1, 1.5, 1.0]))  # a, w, c

    def forward(self, votes: torch.Tensor) -> torch.Tensor:
        taste, weight, scale = self.parts
        return taste * self.popularity + weight * torch.log1p(scale.exp() * votes)


@register_grad_sampler(Blend)
def _blend_gradients(
    layer: Blend, activations: list[torch.Tensor], backprops: torch.Tensor
) -> dict[nn.Parameter, torch.Tensor]:
    """Each person's gradient of the three numbers: float32 [people, 3]."""
    _, weight, scale = layer.parts.detach()
    scaled = scale.exp() * activations[0]
    taste = (backprops * layer.popularity).flatten(1).sum(1)
    height = (backprops * torch.log1p(scaled)).flatten(1).sum(1)
    slope = (backprops * scaled / (1.0 + scaled)).flatten(1).sum(1) * weight
    return {layer.parts: torch.stack([taste, height, slope], 1)}


class PrivateTeacher(nn.Module):
    """Scores of all items from a batch of histories."""

    def __init__(
        self,
        shape: PrivateShape,
        popularity: NDArray[np.floating],
        neighbours: Neighbours,
        table: NDArray[np.float32],
        noise_multiplier: float,
    ) -> None:
        """A teacher that has seen nothing but what was released.

        Args:
            shape: widths.
            popularity: float [items + 1], released.
            neighbours: of each item, released.
            table: float32 [items + 1, width], from what was released.
            noise_multiplier: of the pairs: what closeness is measured against.
        """
        super().__init__()
        items, width = len(popularity), shape.width
        self.shape, self.items = shape, items
        share = np.maximum(popularity, 0.0)
        share = share / share.sum()
        log_share = np.where(share > 0, np.log(np.maximum(share, 1e-12)), -30.0)
        self.blend = Blend(torch.tensor(log_share, dtype=torch.float32))
        self.register_buffer("neighbours", torch.from_numpy(neighbours.items))
        self.register_buffer("votes", torch.from_numpy(_votes(neighbours, popularity, noise_multiplier)))
        self.input = nn.Embedding(items, width)
        self.output = nn.Linear(width, items, bias=False)
        self.attention, self.reading = nn.Linear(FEATURES, 1), nn.Linear(FEATURES, KINDS)
        self.query = nn.Linear(width, width)
        self.again = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, 1))
        self.again.requires_grad_(shape.repeats)
        with torch.no_grad():
            for weights in (self.input.weight, self.output.weight):
                weights.copy_(torch.from_numpy(table))
            for layer in (self.attention, self.reading, self.query, self.again[-1]):
                layer.weight.zero_()
                layer.bias.zero_()
            self.reading.weight[:, FEATURES - 2] = 4.0  # of decay 0.8: the latest items say most
            self.reading.bias[:] = -2.0

    def forward(self, items: torch.Tensor, counts: torch.Tensor, ages: torch.Tensor) -> torch.Tensor:
        """Score everything.

        Args:
            items: int64 [people, examples, L], 0 is padding, most recent last.
            counts: float32, same shape.
            ages: float32, same shape, hours.

        Returns:
            float32 [people, examples, items + 1]: logits; padding's is very low.
        """
        query, votes, own = self.encode(items, counts, ages)
        scores = self.output(query) + self.blend(votes)
        return scores.scatter_add(2, items, own) + LEFT_OUT * (torch.arange(scores.shape[2]) == 0)

    def encode(
        self, items: torch.Tensor, counts: torch.Tensor, ages: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Query [people, examples, width]; votes [.., items + 1]; what having an item adds to its score [.., L]."""
        people, examples, _ = items.shape
        present = items > 0
        features = token_features(present, counts, ages)
        if self.shape.repeats:
            own = self.again(features.flatten(1, 2)).reshape(items.shape)
        else:
            own = torch.full(items.shape, LEFT_OUT)
        near, seen = items[..., -self.shape.recent :], present[..., -self.shape.recent :]
        tokens = features[..., -self.shape.recent :, :].flatten(1, 2)
        weights = self.attention(tokens).reshape(near.shape).masked_fill(~seen, LEFT_OUT).softmax(2) * seen
        vectors = self.input(near.flatten(1)).reshape(*near.shape, -1)
        query = self.query((weights[..., None] * vectors).sum(2))
        reading = F.softplus(self.reading(tokens)).reshape(*near.shape, KINDS) * seen[..., None]
        said = (self.votes[near] * reading[..., None, :]).sum(-1)
        votes = torch.zeros(people, examples, self.items)
        votes = votes.scatter_add(2, self.neighbours[near].long().flatten(2), said.flatten(2))
        return query, votes, own * present

    @torch.no_grad()
    def scores(self, histories: Histories) -> torch.Tensor:
        """float32 [n, items + 1]: logits of every item for every history."""
        parts = []
        for first in range(0, len(histories), BATCH):
            parts.append(self(*person_tensors(histories[slice(first, first + BATCH)], 1))[:, 0])
        return torch.cat(parts)


def token_features(present: torch.Tensor, counts: torch.Tensor, ages: torch.Tensor) -> torch.Tensor:
    """float32 [..., L, FEATURES]: what is known of each place of a history but the item; 0 at padding."""
    length = present.shape[-1]
    rank = torch.arange(length - 1, -1, -1, dtype=torch.float32).expand(present.shape)
    columns = [
        torch.log(counts + 0.02) / 4,
        torch.log1p(ages / DAY) / 4,
        torch.exp(-ages / WEEK),
        torch.log1p(counts),
        torch.ones_like(counts),
        *(decay**rank for decay in RANK_DECAYS),
    ]
    return torch.stack(columns, -1) * present[..., None]


def _votes(neighbours: Neighbours, popularity: NDArray[np.floating], noise_multiplier: float) -> NDArray[np.float32]:
    """float32 [items + 1, K, KINDS]: closeness and what of it stands above twice the noise, damped by popularity."""
    level = np.sqrt(np.maximum(popularity, 1e-6)).astype(np.float32)
    above = np.maximum(neighbours.closeness - np.float32(2.0 * noise_multiplier), 0.0)
    return np.stack([neighbours.closeness, above], -1) / level[:, None, None]


def person_tensors(histories: Histories, each: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """int64 items, float32 counts and ages, each [people, each, L], from people * each histories."""
    shape = (-1, each, histories.items.shape[1])
    return (
        torch.from_numpy(histories.items).long().reshape(shape),
        torch.from_numpy(histories.counts).reshape(shape),
        torch.from_numpy(histories.ages).reshape(shape),
    )
