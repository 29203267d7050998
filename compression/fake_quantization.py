"""Quantization-aware training of dense weights: each layer multiplies with what its weights will be stored as.

TFMOT's own wraps activations in fixed ranges as well, for kernels that are not these, and leaves the item table out;
here weights are rounded forwards and gradients pass straight through (Bengio, Leonard and Courville 2013,
arXiv:1308.3432). Pruned weights stay 0.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tf_keras

from compression.item_table import INT4_LEVELS, LEVELS
from compression.recipe import Storage

if TYPE_CHECKING:
    from compression.device_model import DeviceModel

LARGEST = {"int8": LEVELS, "int4": INT4_LEVELS}


def straight_through(kernel: tf.Tensor, storage: Storage) -> tf.Tensor:
    """A kernel [inputs, units] as it will be stored, with the gradient of the kernel itself."""
    if storage == "float32":
        return kernel
    if storage == "float16":
        stored = tf.cast(tf.cast(kernel, tf.float16), tf.float32)
    else:
        step = tf.maximum(tf.reduce_max(tf.abs(kernel), axis=0, keepdims=True) / LARGEST[storage], 1e-8)
        stored = tf.round(kernel / step) * step
    return kernel + tf.stop_gradient(stored - kernel)


class FakeQuantizedDense(tf_keras.layers.Dense):
    """A Dense layer that sees its weights as they will be stored."""

    storage: Storage = "int8"

    def freeze_zeros(self) -> None:
        self.mask = (self.kernel.numpy() != 0).astype(np.float32)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = tf.matmul(inputs, straight_through(self.kernel * self.mask, self.storage)) + self.bias
        return self.activation(outputs)


@contextmanager
def fake_quantized(model: "DeviceModel", storage: Storage) -> Iterator[None]:
    """Let a model's dense layers see their weights as stored while the block trains them; plain again after it."""

    def wrap(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if type(layer) is not tf_keras.layers.Dense:
            return layer
        wrapped = FakeQuantizedDense.from_config(layer.get_config())
        wrapped.storage, wrapped.mask = storage, np.float32(1)
        return wrapped

    plain = {name: getattr(model, name) for name in ("token_encoder", "query_encoder")}
    for name, encoder in plain.items():
        seen: Any = tf_keras.models.clone_model(encoder, clone_function=wrap)
        seen.set_weights(encoder.get_weights())
        for layer in seen.layers:
            if isinstance(layer, FakeQuantizedDense):
                layer.freeze_zeros()
        setattr(model, name, seen)
    yield
    for name, encoder in plain.items():
        seen = getattr(model, name)
        encoder.set_weights(seen.get_weights())
        for layer in seen.layers:
            if isinstance(layer, FakeQuantizedDense):
                encoder.get_layer(layer.name).kernel.assign(layer.kernel * layer.mask)
        setattr(model, name, encoder)
