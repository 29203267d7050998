"""The item table: one matrix that embeds the history and scores the catalogue, stored once in every artifact.

While training it is a float variable seen through fake quantization: rounded to the grid forwards; backwards straight
through within the grid's ends (Bengio, Leonard and Courville 2013, arXiv:1308.3432). Before export it is frozen to what
is stored; what the artifacts then differ in is arithmetic only.

An int8 table has one scale for all. With int4's fifteen levels each item has its own: of the scales that would do, the
one that leaves the smallest squared error, which training then moves on (learned step sizes, Esser et al. 2020,
arXiv:1902.08153). Items' scales are multiples of one power of two, up to 127 of it, so that a byte holds one; as
float16, which is how they are written elsewhere, they are the same numbers.
"""

from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from compression.grid import LEVELS, scale_step
from compression.recipe import Storage

Kept = Literal["shipped", "float32"]
"""How a graph keeps the table: as it is stored, or the same numbers as float32."""

CLIPPINGS = np.linspace(0.5, 1.0, 21, dtype=np.float32)  # of an item's largest value, for int4's largest level


class StoredTable(NamedTuple):
    """A table as it is stored."""

    codes: np.ndarray  # [items + 1, width]: int4 and int8: integers as int8; else the values as float16 or float32
    scale: float = 1.0  # of the integers of an int8 table
    storage: Storage = "int8"
    row_scales: np.ndarray | None = None  # of an int4 table: float16 [items + 1], see int4_item_scales

    def values(self) -> np.ndarray:
        """float32 [items + 1, width]: what the codes stand for."""
        scales = np.float32(self.scale) if self.row_scales is None else self.row_scales.astype(np.float32)[:, None]
        return self.codes.astype(np.float32) * scales


def quantization_scale(table: np.ndarray, coverage: float = 0.9999) -> float:
    """Step of the int8 grid.

    Args:
        table: float32 [items + 1, width].
        coverage: share of the entries that lie on the grid; the rest are clipped to its ends.
    """
    return max(float(np.quantile(np.abs(table), coverage)) / LEVELS["int8"], 1e-8)


def int4_row_scales(table: np.ndarray) -> np.ndarray:
    """Each item's step of the int4 grid, the best of `CLIPPINGS`: float16 [items + 1], above 0."""
    largest = np.abs(table).max(1)
    best, least = np.ones(len(table), np.float16), np.full(len(table), np.inf, np.float32)
    for clipping in CLIPPINGS:
        scales = (largest * clipping / LEVELS["int4"]).astype(np.float16)
        scales[scales == 0] = 1.0  # an item of zeros
        steps = scales.astype(np.float32)[:, None]
        error = np.square(quantize(table, steps, LEVELS["int4"]) * steps - table).sum(1)
        better = error < least
        best[better], least[better] = scales[better], error[better]
    return best


def int4_item_scales(table: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Scales of `int4_row_scales` on a grid that a byte holds: float16 [items + 1], above 0.

    Args:
        table: float32 [items + 1, width].
        largest: scale of the table whose grid it is, this one's own by default.
    """
    scales = np.where(table.any(1), int4_row_scales(table).astype(np.float32), 0.0)
    step = scale_step(largest or float(scales.max()) or 1.0)
    return (np.clip(np.rint(scales / step), 1, LEVELS["int8"]) * step).astype(np.float16)


def quantize(table: np.ndarray, scale: float | np.ndarray, levels: int = LEVELS["int8"]) -> np.ndarray:
    """int8 [items + 1, width]: the nearest grid point of every entry."""
    return np.clip(np.rint(table / scale), -levels, levels).astype(np.int8)


def store(table: np.ndarray, storage: Storage) -> StoredTable:
    """A float32 table [items + 1, width] as it would be stored without further training."""
    if storage == "int8":
        scale = float(np.float32(quantization_scale(table)))
        return StoredTable(quantize(table, scale), scale)
    if storage == "int4":
        scales = int4_item_scales(table)
        codes = quantize(table, scales.astype(np.float32)[:, None], LEVELS["int4"])
        return StoredTable(codes, storage=storage, row_scales=scales)
    return StoredTable(table.astype(storage), storage=storage)


class TrainableTable(tf.Module):
    """The table while it is trained: a float32 variable, fake-quantized once a scale is set."""

    def __init__(self, values: np.ndarray, storage: Storage = "int8") -> None:
        super().__init__(name="item_table")
        self.values = tf.Variable(values.astype(np.float32), name="values")
        self.storage: Storage = storage
        shape = (len(values), 1) if storage == "int4" else ()
        self.scale = tf.Variable(tf.zeros(shape), trainable=False, name="scale")  # 0: not quantized yet
        self.widening = tf.Variable(tf.zeros(shape), name="widening")  # of int4 scales since they were set, logarithm
        self._scale_step = tf.Variable(1.0, trainable=False, name="scale_step")
        self._levels = LEVELS["int4" if storage == "int4" else "int8"]

    rounds_queries = False

    @property
    def is_quantized(self) -> bool:
        return bool(self.scale.numpy().any())

    def start_quantization(self) -> None:
        """See the table from now on as it will be stored; floats lose too little to be seen so."""
        if self.storage == "int8":
            self.scale.assign(quantization_scale(self.values.numpy()))
        elif self.storage == "int4":
            self._set_item_scales(int4_item_scales(self.values.numpy()))

    def _set_item_scales(self, scales: np.ndarray) -> None:
        self.scale.assign(scales.astype(np.float32)[:, None])
        self._scale_step.assign(scale_step(float(scales.max())))

    @property
    def trained(self) -> list[tf.Variable]:
        return [self.values, self.widening] if self.storage == "int4" else [self.values]

    def after_step(self, step: int) -> None:
        """Nothing is done between steps."""

    def end_training(self) -> None:
        """Bring entries beyond the grid's ends to them, where training saw them: they drifted on unseen."""
        if self.is_quantized:
            end = self._levels * self._scales()
            self.values.assign(tf.clip_by_value(self.values, -end, end))

    def _scales(self) -> tf.Tensor:
        """As they will be stored, with the gradient of what they were moved to."""
        scale = self.scale.read_value()
        if self.storage != "int4":
            return scale
        moved = scale * tf.exp(self.widening)
        on_grid = tf.clip_by_value(tf.round(moved / self._scale_step), 1.0, float(LEVELS["int8"])) * self._scale_step
        return tf.where(scale > 0.0, moved + tf.stop_gradient(on_grid - moved), scale)

    def _on_grid(self, rows: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        step = tf.maximum(scale, 1e-8)
        place = tf.clip_by_value(rows / step, -self._levels, self._levels)
        return tf.where(scale > 0.0, (place + tf.stop_gradient(tf.round(place) - place)) * step, rows)

    def rows(self, items: tf.Tensor) -> tf.Tensor:
        scales = self._scales()
        scale = tf.gather(scales, items) if self.storage == "int4" else scales
        return self._on_grid(tf.gather(self.values, items), scale)

    def seen(self) -> tf.Tensor:
        """float32 [items + 1, width]: all of it as it will be stored."""
        return self._on_grid(self.values.read_value(), self._scales())

    def score(self, query: tf.Tensor) -> tf.Tensor:
        return tf.matmul(query, self.seen(), transpose_b=True)

    @classmethod
    def thawed(cls, stored: StoredTable) -> "TrainableTable":
        """A table to go on training from what is stored, on the same grid."""
        table = cls(stored.values(), stored.storage)
        if stored.row_scales is not None:
            table._set_item_scales(stored.row_scales)
        elif stored.storage == "int8":
            table.scale.assign(stored.scale)
        return table

    def frozen(self) -> StoredTable:
        """As it is stored, on the grid it was trained on."""
        values, scale = self.values.numpy(), self._scales().numpy()
        if not self.is_quantized:
            return store(values, self.storage)
        codes = quantize(values, scale, self._levels)
        if self.storage == "int4":
            return StoredTable(codes, storage="int4", row_scales=scale[:, 0].astype(np.float16))
        return StoredTable(codes, float(np.float32(scale)))


class FrozenTable(tf.Module):
    """The table as it ships, or the float32 that it stands for, in the same arithmetic."""

    def __init__(self, stored: StoredTable, kept: Kept) -> None:
        super().__init__(name="item_table")
        self.stored, self.kept = stored, kept
        codes, scales = stored.codes, stored.row_scales
        self._codes = tf.constant(codes if kept == "shipped" else codes.astype(np.float32))
        if scales is not None:
            self._scales = tf.constant(scales if kept == "shipped" else scales.astype(np.float32))

    def rows(self, items: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(items, (-1,))  # as TensorFlow Lite's EMBEDDING_LOOKUP wants it
        if self._codes.dtype == tf.int8:
            rows = tf.cast(tf.gather(self._codes, flat), tf.float32)
        else:  # TensorFlow Lite gathers no float16
            rows = tf.gather(tf.cast(self._codes, tf.float32), flat)
        if self.stored.row_scales is None:
            rows *= self.stored.scale
        else:
            rows *= tf.gather(tf.cast(self._scales, tf.float32), flat)[:, None]
        return tf.reshape(rows, (-1, *items.shape[1:], self._codes.shape[1]))

    def score(self, query: tf.Tensor) -> tf.Tensor:
        if self.stored.row_scales is None:
            return tf.matmul(query * self.stored.scale, tf.cast(self._codes, tf.float32), transpose_b=True)
        scores = tf.matmul(query, tf.cast(self._codes, tf.float32), transpose_b=True)
        return scores * tf.cast(self._scales, tf.float32)

    @property
    def rounds_queries(self) -> bool:
        """Whether a runtime may round a query to int8, row by row, before it multiplies it with the integers."""
        return self.kept == "shipped" and self._codes.dtype == tf.int8

    def frozen(self) -> StoredTable:
        return self.stored


ItemTable = TrainableTable | FrozenTable
