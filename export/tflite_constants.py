"""Constants of a TFLite model in the forms that the runtime reads: int4, int8, float16, float32."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ai_edge_litert.schema_py_generated import TensorType

from compression.grid import LEVELS, scale_step

if TYPE_CHECKING:
    from compression.item_table import StoredTable
    from compression.recipe import Storage


@dataclass(frozen=True)
class Constant:
    """What a tensor holds.

    Attributes:
        type: a `TensorType`.
        data: uint8, as stored in the file.
        scales: float32 of the integers: one for all or one for each row; None for floats.
    """

    type: int
    data: np.ndarray
    scales: np.ndarray | None = None


def of_table(table: "StoredTable") -> Constant:
    """The item table's codes; integers stand for themselves, as the graph applies the scales."""
    if table.storage == "int4":
        return Constant(TensorType.INT4, packed(table.codes), np.ones(1, np.float32))
    if table.storage == "int8":
        return Constant(TensorType.INT8, _bytes(table.codes), np.ones(1, np.float32))
    return of_floats(table.codes, table.storage)


def of_item_scales(scales: np.ndarray) -> Constant:
    """Scales of an int4 table's items, float16 [items + 1], multiples of one step: a byte each."""
    step = np.float32(scale_step(float(scales.max())))
    return Constant(TensorType.INT8, _bytes((scales.astype(np.float32) / step).astype(np.int8)), np.full(1, step))


def of_kernel(kernel: np.ndarray, storage: "Storage") -> Constant:
    """A dense layer's weights.

    Args:
        kernel: float32 [units, inputs]; for integers on a symmetric grid of which each unit's largest weight is the
            last point, as `compression.dense_weights` rounds it.
        storage: of the weights.
    """
    if storage not in LEVELS:
        return of_floats(kernel, storage)
    scales = np.abs(kernel).max(1) / np.float32(LEVELS[storage])
    scales = np.where(scales > 0, scales, 1).astype(np.float32)
    codes = np.rint(kernel / scales[:, None]).astype(np.int8)
    if storage == "int4":
        return Constant(TensorType.INT4, packed(codes), scales)
    return Constant(TensorType.INT8, _bytes(codes), scales)


def of_floats(values: np.ndarray, storage: "Storage") -> Constant:
    """Values as float16 or float32."""
    kind = TensorType.FLOAT16 if storage == "float16" else TensorType.FLOAT32
    return Constant(kind, _bytes(values.astype(storage)))


def packed(codes: np.ndarray) -> np.ndarray:
    """uint8 [ceil(n / 2)]: n int4 codes in row-major order, two to a byte, the first in the lower half."""
    halves = codes.reshape(-1).view(np.uint8) & np.uint8(0xF)
    if len(halves) % 2:
        halves = np.append(halves, np.uint8(0))
    return halves[0::2] | (halves[1::2] << np.uint8(4))


def _bytes(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(array.tobytes(), np.uint8)
