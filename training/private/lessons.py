"""What a private teacher says of the histories drawn from it, on disk: the whole input of a private distillation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.arrays import load_arrays
from training.examples import Batch
from training.histories import Histories
from training.new_item_labels import LABELS, SHARPNESS, NewItemLabels
from training.private.histories import DrawnHistories
from training.private.teacher import BATCH, PrivateTeacher
from training.soft_labels import SoftLabels
from training.spectral_start import spectral_vectors

FILE = "drawn_histories.npz"


@dataclass(frozen=True)
class DrawnExamples:
    """Drawn histories with the interface of `training.examples.Examples`."""

    drawn: DrawnHistories

    def __len__(self) -> int:
        return len(self.drawn)

    @property
    def histories(self) -> Histories:
        return self.drawn.histories

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        histories, wanted = self.histories[rows], self.drawn.targets[rows]
        example, column = np.nonzero(wanted)
        target = wanted[example, column].astype(np.int64)
        same = histories.items[example] == target[:, None]
        place = np.where(same.any(1), same.argmax(1), -1)
        share = (1.0 / np.maximum((wanted > 0).sum(1), 1))[example].astype(np.float32)
        return Batch(histories, example.astype(np.int64), target, place, share)


def teach(teacher: PrivateTeacher, drawn: DrawnHistories, width: int, seed: int) -> SoftLabels:
    """Ask the teacher about every drawn history.

    Its votes have no vectors: the device model's start from the spectrum of what the teacher says, and no query is
    taught.

    Args:
        teacher: private.
        drawn: n histories.
        width: of the vectors.
        seed: of the randomized decomposition.
    """
    kept = min(LABELS, teacher.items - 1)
    own, items, share = [], [], []
    for first in range(0, len(drawn), BATCH):
        histories = drawn.histories[slice(first, first + BATCH)]
        scores, history = teacher.scores(histories), torch.from_numpy(histories.items).long()
        own.append(scores.gather(1, history).numpy())
        scores.scatter_(1, history, -1e4)
        best, where = scores[:, 1:].topk(kept, dim=1)
        items.append(where.numpy().astype(np.int32) + 1)
        share.append((SHARPNESS * best).softmax(1).numpy())
    labels = NewItemLabels(np.concatenate(items), np.concatenate(share))
    with torch.no_grad():
        popularity = (teacher.blend.parts[0] * teacher.blend.popularity).log_softmax(0).numpy()
    return SoftLabels(
        baskets=np.arange(len(drawn)),
        query=np.zeros((len(drawn), width), np.float32),
        history_scores=np.concatenate(own),
        new_items=labels.items,
        new_share=labels.share,
        vectors=spectral_vectors(labels, popularity, width, seed),
        popularity=popularity,
        repeat=np.zeros(teacher.items, np.float32),
    )


def save_drawn(drawn: DrawnHistories, folder: Path) -> None:
    np.savez(folder / FILE, targets=drawn.targets, **vars(drawn.histories))


def load_drawn(folder: Path) -> DrawnHistories:
    """Read what `save_drawn` wrote.

    Raises:
        RunError: if the folder holds none.
    """
    return load_arrays(
        lambda targets, **histories: DrawnHistories(Histories(**histories), targets), folder / FILE, "drawn histories"
    )
