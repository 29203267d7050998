"""A low-rank item table: one of the alternatives that item codes are compared with, not one that ships.

A vector is a short row of the item's own times a matrix that all items share: items x rank + rank x width numbers. It
starts as the best such table (truncated singular value decomposition: Eckart and Young 1936) and is trained jointly.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from compression.item_table import quantization_scale, quantize


class StoredLowRank(NamedTuple):
    """A low-rank table as it would be stored."""

    codes: NDArray[np.int8]  # [items + 1, rank]
    scale: float
    directions: NDArray[np.float32]  # [rank, width]

    def values(self) -> NDArray[np.float32]:
        """float32 [items + 1, width]."""
        own = self.codes.astype(np.float32) * np.float32(self.scale)
        return np.matmul(own, self.directions)

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.directions.nbytes


class LowRankTable(tf.Module):
    """The table while it is trained; it is not fake-quantized, for rounding to int8 is not what it loses by."""

    def __init__(self, values: NDArray[np.float32], rank: int, weights: NDArray[np.float32]) -> None:
        """The best low-rank table.

        Args:
            values: float32 [items + 1, width].
            rank: numbers of an item, at most width.
            weights: float32 [width], how much a squared error in each column matters.
        """
        super().__init__(name="low_rank_table")
        scaling = np.sqrt(weights)
        scaled = values * scaling
        _, directions = np.linalg.eigh(scaled.T.astype(np.float64) @ scaled)
        strongest = directions[:, ::-1][:, :rank]  # [width, rank]
        self.own = tf.Variable((scaled @ strongest).astype(np.float32), name="own")
        self.directions = tf.Variable((strongest.T / scaling).astype(np.float32), name="directions")
        self.is_quantized = True

    @property
    def trained(self) -> list[tf.Variable]:
        return [self.own, self.directions]

    def after_step(self, step: int) -> None:
        """Nothing is done between steps."""

    def end_training(self) -> None:
        """Nothing is left to do."""

    def rows(self, items: tf.Tensor) -> tf.Tensor:
        """float32 [..., width]: vectors of some items."""
        return tf.tensordot(tf.gather(self.own, items), self.directions, 1)

    def score(self, query: tf.Tensor) -> tf.Tensor:
        """float32 [1, items + 1] from a query [1, width]."""
        return tf.matmul(tf.matmul(query, self.directions, transpose_b=True), self.own, transpose_b=True)

    def frozen(self) -> StoredLowRank:
        own = self.own.numpy()
        scale = float(np.float32(quantization_scale(own, coverage=1.0)))
        return StoredLowRank(quantize(own, scale), scale, self.directions.numpy())
