"""Rounding of the encoders' dense weights to the int8 grid on which TFLite's dynamic-range kernels keep them."""

from typing import TYPE_CHECKING

import numpy as np
import tf_keras

from compression.item_table import LEVELS

if TYPE_CHECKING:
    from compression.device_model import DeviceModel


def rounded(kernel: np.ndarray) -> np.ndarray:
    """float32 [inputs, units]: the nearest multiple of each unit's largest weight / 127; zeros stay zeros."""
    step = np.abs(kernel).max(0, keepdims=True) / np.float32(LEVELS)
    step = np.where(step > 0, step, 1).astype(np.float32)
    return (np.rint(kernel / step) * step).astype(np.float32)


def round_dense_weights(model: "DeviceModel") -> None:
    """Round every Dense kernel of a model's encoders in place."""
    for encoder in (model.token_encoder, model.query_encoder):
        for layer in encoder.layers:
            if isinstance(layer, tf_keras.layers.Dense):
                layer.kernel.assign(rounded(layer.kernel.numpy()))
