"""The item table: one int8 matrix that embeds the history and scores the catalogue, stored once in every artifact.

While training it is a float variable seen through fake quantization (round to the int8 grid forwards, straight through
backwards: Bengio, Leonard and Courville 2013, arXiv:1308.3432). Before export it is frozen to its integers; what the
artifacts then differ in is arithmetic only.
"""

from typing import Literal

import numpy as np
import tensorflow as tf

LEVELS = 127  # symmetric int8: -127 to 127
Storage = Literal["float32", "int8"]


def quantization_scale(table: np.ndarray, coverage: float = 0.9999) -> float:
    """Step of the int8 grid.

    Args:
        table: float32 [items + 1, width].
        coverage: share of the entries that lie on the grid; the rest are clipped to its ends.
    """
    return max(float(np.quantile(np.abs(table), coverage)) / LEVELS, 1e-8)


def quantize(table: np.ndarray, scale: float) -> np.ndarray:
    """int8 [items + 1, width]: the nearest grid point of every entry."""
    return np.clip(np.rint(table / scale), -LEVELS, LEVELS).astype(np.int8)


class TrainableTable(tf.Module):
    """The table while it is trained: a float32 variable, fake-quantized once a scale is set."""

    def __init__(self, values: np.ndarray) -> None:
        super().__init__(name="item_table")
        self.values = tf.Variable(values.astype(np.float32), name="values")
        self.scale = tf.Variable(0.0, trainable=False, name="scale")  # 0: not quantized yet

    @property
    def is_quantized(self) -> bool:
        return bool(self.scale.numpy())

    def start_quantization(self) -> None:
        self.scale.assign(quantization_scale(self.values.numpy()))

    def _on_grid(self, rows: tf.Tensor) -> tf.Tensor:
        scale = tf.maximum(self.scale, 1e-8)
        rounded = tf.clip_by_value(tf.round(rows / scale), -LEVELS, LEVELS) * scale
        return tf.where(self.scale > 0.0, rows + tf.stop_gradient(rounded - rows), rows)

    def rows(self, items: tf.Tensor) -> tf.Tensor:
        return self._on_grid(tf.gather(self.values, items))

    def score(self, query: tf.Tensor) -> tf.Tensor:
        return tf.matmul(query, self._on_grid(self.values.read_value()), transpose_b=True)

    @classmethod
    def thawed(cls, codes: np.ndarray, scale: float) -> "TrainableTable":
        """A table to go on training from its integers, on the same grid."""
        table = cls(codes.astype(np.float32) * np.float32(scale))
        table.scale.assign(scale)
        return table

    def frozen(self) -> tuple[np.ndarray, float]:
        """The integers and their scale, a float32 as every artifact keeps it."""
        scale = float(np.float32(self.scale.numpy() or quantization_scale(self.values.numpy())))
        return quantize(self.values.numpy(), scale), scale


class FrozenTable(tf.Module):
    """The table as it ships: the same integers, kept as int8 or as the float32 they stand for."""

    def __init__(self, codes: np.ndarray, scale: float, storage: Storage) -> None:
        super().__init__(name="item_table")
        self.codes, self.scale, self.storage = codes, float(np.float32(scale)), storage
        self._constant = tf.constant(codes if storage == "int8" else codes.astype(np.float32))

    def rows(self, items: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.gather(self._constant, items), tf.float32) * self.scale

    def score(self, query: tf.Tensor) -> tf.Tensor:
        return tf.matmul(query * self.scale, tf.cast(self._constant, tf.float32), transpose_b=True)

    def frozen(self) -> tuple[np.ndarray, float]:
        return self.codes, self.scale


ItemTable = TrainableTable | FrozenTable
