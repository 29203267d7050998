"""What was measured on one candidate's real artifact."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.bundle import Estimate
from training.evaluation import estimate, relative_difference


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe's artifact; losses are shares of the float model's quality, paired by person, with 95 % intervals."""

    recipe: str
    bytes: int
    download_bytes: int  # after zstd: what pruned and clustered weights save
    latency_ms: float  # median of one thread of this host
    ndcg_at_10: Estimate
    loss: Estimate  # of NDCG@10 on all items
    new_items_loss: Estimate  # on new items
    steps: int = 0  # of training after distillation


def measured(
    recipe: str,
    stored_bytes: tuple[int, int],
    latency_ms: float,
    people: tuple[NDArray[np.float64], NDArray[np.float64]],
    reference: tuple[NDArray[np.float64], NDArray[np.float64]],
    seed: int,
    steps: int = 0,
) -> Measured:
    """Put one candidate's figures together.

    Args:
        recipe: its name.
        stored_bytes: of the artifact, on the device and as a download.
        latency_ms: the median.
        people: float64 [people] twice: each person's NDCG@10 on all items and on new ones; NaN of people not asked.
        reference: the float model's on the same people.
        seed: of the bootstrap.
        steps: of training after distillation.
    """
    losses = [relative_difference(ours, theirs, seed) for ours, theirs in zip(people, reference, strict=True)]
    return Measured(
        recipe=recipe,
        bytes=stored_bytes[0],
        download_bytes=stored_bytes[1],
        latency_ms=round(latency_ms, 4),
        ndcg_at_10=estimate(people[0], seed),
        loss=_negated(losses[0]),
        new_items_loss=_negated(losses[1]),
        steps=steps,
    )


def _negated(difference: Estimate) -> Estimate:
    return Estimate(0.0 - difference.value, 0.0 - difference.high, 0.0 - difference.low)  # no loss is 0, not -0
