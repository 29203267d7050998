"""A hashed item table: one of the alternatives that item codes are compared with, not one that ships.

Items share vectors, item i the vector i mod buckets, and each has a factor and an offset of its own (MEmCom: Pansare
and others, MLSys 2022, arXiv:2108.10374, equation 2). Under a numbering by popularity the most popular items collide
only with far less popular ones. The two columns of biases are not shared: they are each item's own.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from compression.item_table import quantization_scale, quantize

OWN = 4  # numbers of an item: factor, offset and two biases


class StoredHashes(NamedTuple):
    """A hashed table as it would be stored."""

    buckets: NDArray[np.int8]  # [buckets, width - 2]
    scale: float
    own: NDArray[np.float16]  # [items + 1, OWN]

    def values(self) -> NDArray[np.float32]:
        """float32 [items + 1, width]."""
        shared = self.buckets * np.float32(self.scale)
        own = self.own.astype(np.float32)
        vectors = shared[np.arange(len(own)) % len(shared)] * own[:, :1] + own[:, 1:2]
        return np.concatenate([vectors, own[:, 2:]], axis=1)

    @property
    def nbytes(self) -> int:
        return self.buckets.nbytes + self.own.nbytes


class HashedTable(tf.Module):
    """The table while it is trained; the first item of a bucket has it to itself at the start."""

    def __init__(self, values: NDArray[np.float32], buckets: int) -> None:
        """A table whose most popular items start exactly.

        Args:
            values: float32 [items + 1, width], most popular item first; the last two columns are biases.
            buckets: how many vectors are shared.
        """
        super().__init__(name="hashed_table")
        free = values[:, :-2]
        shared = free[:buckets].copy()
        mine = shared[np.arange(len(values)) % buckets]
        factor = (mine * free).sum(1) / np.maximum((mine**2).sum(1), 1e-9)  # the nearest multiple of the shared vector
        own = np.stack([factor, np.zeros(len(values)), values[:, -2], values[:, -1]], axis=1)
        self.shared = tf.Variable(shared.astype(np.float32), name="shared")
        self.own = tf.Variable(own.astype(np.float32), name="own")
        self.is_quantized = True

    @property
    def trained(self) -> list[tf.Variable]:
        return [self.shared, self.own]

    def after_step(self, step: int) -> None:
        """Nothing is done between steps."""

    def end_training(self) -> None:
        """Nothing is left to do."""

    def rows(self, items: tf.Tensor) -> tf.Tensor:
        """float32 [..., width]: vectors of some items."""
        own = tf.gather(self.own, items)
        vectors = tf.gather(self.shared, items % self.shared.shape[0]) * own[..., :1] + own[..., 1:2]
        return tf.concat([vectors, own[..., 2:]], axis=-1)

    def score(self, query: tf.Tensor) -> tf.Tensor:
        """float32 [1, items + 1] from a query [1, width]."""
        return tf.matmul(query, self.rows(tf.range(self.own.shape[0])), transpose_b=True)

    def frozen(self) -> StoredHashes:
        shared = self.shared.numpy()
        scale = float(np.float32(quantization_scale(shared, coverage=1.0)))
        return StoredHashes(quantize(shared, scale), scale, self.own.numpy().astype(np.float16))
