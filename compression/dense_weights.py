"""Rounding of the encoders' dense weights to what they are stored as, so that every artifact carries the same numbers.

Integers lie on a grid of their unit's own, symmetric, whose last point is the unit's largest weight: a reader of the
rounded weights finds the same grid. Int4's fifteen levels leave large weights clipped where that makes the squared
error smaller.
"""

from typing import TYPE_CHECKING

import numpy as np
import tf_keras

from compression.compression_pass import Pass
from compression.grid import LEVELS, SMALLEST_KERNEL
from compression.item_table import int4_row_scales, quantize
from compression.recipe import Recipe, Storage

if TYPE_CHECKING:
    from compression.device_model import DeviceModel


def rounded(kernel: np.ndarray, storage: Storage = "int8") -> np.ndarray:
    """float32 [inputs, units]: the nearest weights that the storage has; zeros stay zeros."""
    if storage == "int4":
        if kernel.size < SMALLEST_KERNEL:
            return kernel
        steps = int4_row_scales(kernel.T).astype(np.float32)
        return (quantize(kernel, steps, LEVELS["int4"]) * steps).astype(np.float32)
    if storage == "int8":
        step = np.abs(kernel).max(0, keepdims=True) / np.float32(LEVELS["int8"])
        step = np.where(step > 0, step, 1).astype(np.float32)
        return (np.rint(kernel / step) * step).astype(np.float32)
    return kernel.astype(storage).astype(np.float32)


def round_dense_weights(model: "DeviceModel", storage: Storage = "int8") -> None:
    """Round every Dense kernel of a model's encoders in place."""
    for encoder in (model.token_encoder, model.query_encoder):
        for layer in encoder.layers:
            if isinstance(layer, tf_keras.layers.Dense):
                layer.kernel.assign(rounded(layer.kernel.numpy(), storage))


class RoundDense(Pass):
    """Rounds dense weights to their storage."""

    name = "dense weights"

    def wanted(self, recipe: Recipe) -> bool:
        return recipe.dense != "float32"

    def apply(self, model: "DeviceModel", recipe: Recipe) -> None:
        round_dense_weights(model, recipe.dense)
