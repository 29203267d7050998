"""What was measured on one candidate's real artifact."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from compression.search.limits import LossOf
from contracts.bundle import Estimate
from training.evaluation import estimate, relative_difference

People = tuple[NDArray[np.float64], NDArray[np.float64]]
"""float64 [people] twice: each person's NDCG@10 on what is judged and on new items; NaN of people not asked."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe's artifact; losses are shares of another model's NDCG@10, paired by person, with 95 % intervals.

    Judged are all items, or new ones where people seldom take an item twice.
    """

    recipe: str
    bytes: int
    download_bytes: int  # after zstd: what pruned and clustered weights save
    latency_ms: float  # median of one thread of this host
    ndcg_at_10: Estimate
    loss: Estimate  # of the float model's
    new_items_loss: Estimate  # the same on new items
    teacher_loss: Estimate  # of the teacher's
    teacher_new_items_loss: Estimate
    steps: int = 0  # of training after distillation; of next items, passes over the log

    def losses(self, of: LossOf) -> tuple[Estimate, Estimate]:
        """What is lost of a model's quality, and of that on new items."""
        if of == "teacher":
            return self.teacher_loss, self.teacher_new_items_loss
        return self.loss, self.new_items_loss


def measured(
    recipe: str,
    stored_bytes: tuple[int, int],
    latency_ms: float,
    people: People,
    floats: People,
    teacher: People,
    seed: int,
    steps: int = 0,
) -> Measured:
    """Put one candidate's figures together.

    Args:
        recipe: its name.
        stored_bytes: of the artifact, on the device and as a download.
        latency_ms: the median.
        people: what it answered.
        floats: the float model, for the same people.
        teacher: the teacher, for the same people.
        seed: of the bootstrap.
        steps: of training after distillation.
    """
    loss, new_items_loss, teacher_loss, teacher_new_items_loss = (
        _negated(relative_difference(ours, theirs, seed))
        for other in (floats, teacher)
        for ours, theirs in zip(people, other, strict=True)
    )
    return Measured(
        recipe=recipe,
        bytes=stored_bytes[0],
        download_bytes=stored_bytes[1],
        latency_ms=round(latency_ms, 4),
        ndcg_at_10=estimate(people[0], seed),
        loss=loss,
        new_items_loss=new_items_loss,
        teacher_loss=teacher_loss,
        teacher_new_items_loss=teacher_new_items_loss,
        steps=steps,
    )


def _negated(difference: Estimate) -> Estimate:
    return Estimate(0.0 - difference.value, 0.0 - difference.high, 0.0 - difference.low)  # no loss is 0, not -0
