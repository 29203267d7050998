"""What most often follows each item, kept in the device model beside its table.

Of the transitions that the teacher counts (`training.sequence.transitions`) the device keeps for each item the few that
are strongest, in order, and one share for each place in that order, the mean over all items: which items follow says
almost all, and takes two bytes each. A small model learns such exact pairs last.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
import tensorflow as tf
import torch
from numpy.typing import NDArray

from training.sequence.rules import GAPS
from training.sequence.transitions import FLOOR, Transitions

SHORT = np.iinfo(np.int16).max  # items that two bytes number


@dataclass(frozen=True)
class Successors:
    items: NDArray[np.integer]  # int16, or int32 in a large catalogue, [items + 1, most]; 0 where there are fewer
    shares: NDArray[np.float32]  # [most], in (0, 1], falling
    heed: np.float32  # how much is made of them, see `training.sequence.heed`

    @classmethod
    def of(cls, transitions: Transitions, most: int, heed: float) -> "Successors":
        """The `most` strongest of each item."""
        items, shares = transitions.strongest(most)
        kind = np.int16 if len(items) <= SHORT else np.int32
        mean = np.maximum(shares[1:].mean(0, dtype=np.float64), FLOOR).astype(np.float32)
        return cls(items.astype(kind), mean, np.float32(heed))

    def recounted(self, transitions: Transitions) -> "Successors":
        """As many, of newer transitions, heeded alike."""
        return Successors.of(transitions, self.items.shape[1], float(self.heed))

    def heeded(self, heed: float) -> "Successors":
        return replace(self, heed=np.float32(heed))

    def log_shares(self, recent: NDArray[np.int32]) -> torch.Tensor:
        """float32 [n, items + 1] as `Transitions.log_shares`, of what is kept."""
        size, most = self.items.shape
        row = np.repeat(np.arange(size), most)
        shares = sp.csr_matrix((np.tile(self.shares, size), (row, self.items.ravel())), shape=(size, size))
        return Transitions(shares).log_shares(recent)

    def gain(self, items: tf.Tensor) -> tf.Tensor:
        """What is added to the scores: float32 [items + 1], of no meaning for padding, within the graph.

        Args:
            items: int32 [1, L], the latest last, 0 before the first.
        """
        size, most = self.items.shape
        gaps = min(GAPS, int(items.shape[1]))
        recent = tf.reverse(items[0, -gaps:], [0])
        weight = tf.cast(recent > 0, tf.float32) / tf.range(1.0, gaps + 1.0)
        weight /= tf.maximum(tf.reduce_sum(weight), 1e-9)
        after = tf.cast(tf.gather(tf.constant(self.items), recent), tf.int32)
        # A row for each of the recent items: within one nothing stands twice, and not every runtime adds up what does.
        place = tf.repeat(tf.range(gaps), most)
        index = tf.stack([place, tf.reshape(after, (-1,))], axis=1)
        rows = tf.scatter_nd(index, tf.reshape(weight[:, None] * self.shares, (-1,)), (gaps, size))
        return self.heed * tf.math.log(tf.reduce_sum(rows, axis=0) + FLOOR)
