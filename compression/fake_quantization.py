"""Quantization-aware training of dense weights: each layer multiplies with what its weights will be stored as.

TFMOT's own wraps activations in fixed ranges as well, for kernels that are not these, and leaves the item table out;
here weights are rounded forwards, by the very function that rounds what is stored, and gradients pass straight through
(Bengio, Leonard and Courville 2013, arXiv:1308.3432). Pruned weights stay 0, and weights of one cluster stay equal.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tf_keras

from compression.dense_weights import rounded
from compression.recipe import Recipe, Storage

if TYPE_CHECKING:
    from compression.device_model import DeviceModel


def straight_through(kernel: tf.Tensor, storage: Storage) -> tf.Tensor:
    """A kernel [inputs, units] as it will be stored, with the gradient of the kernel itself."""
    if storage == "float32":
        return kernel
    stored = tf.numpy_function(partial(rounded, storage=storage), [kernel], tf.float32)
    return kernel + tf.stop_gradient(tf.ensure_shape(stored, kernel.shape) - kernel)


class FakeQuantizedDense(tf_keras.layers.Dense):
    """A Dense layer that sees its weights as they will be stored."""

    storage: Storage = "int8"

    def hold(self, clustered: bool) -> None:
        """Keep the zeros that there are, and where it is clustered which weights are equal."""
        kernel = self.kernel.numpy()
        self.mask, self.cluster = (kernel != 0).astype(np.float32), None
        if clustered:
            values, cluster = np.unique(kernel, return_inverse=True)
            self.clusters, self.cluster = len(values), cluster.reshape(kernel.shape).astype(np.int32)

    def held(self) -> tf.Tensor:
        """The kernel with its zeros; a cluster's weights are their mean, and so is each one's gradient."""
        kernel = self.kernel * self.mask
        if self.cluster is None:
            return kernel
        return tf.gather(tf.math.unsorted_segment_mean(kernel, self.cluster, self.clusters), self.cluster)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = tf.matmul(inputs, straight_through(self.held(), self.storage))
        return self.activation(outputs + self.bias if self.use_bias else outputs)


@contextmanager
def fake_quantized(model: "DeviceModel", recipe: Recipe) -> Iterator[None]:
    """Let a model's dense layers see their weights as a recipe stores them while the block trains them.

    Args:
        model: pruned and clustered as the recipe says; its layers are plain again after the block.
        recipe: whose storage of dense weights is seen.
    """

    def wrap(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if type(layer) is not tf_keras.layers.Dense:
            return layer
        wrapped = FakeQuantizedDense.from_config(layer.get_config())
        wrapped.storage = recipe.dense
        wrapped.mask, wrapped.cluster = np.float32(1), None
        return wrapped

    def layers(encoder: tf_keras.Model) -> list[FakeQuantizedDense]:
        return [layer for layer in encoder.layers if isinstance(layer, FakeQuantizedDense)]

    plain = {name: getattr(model, name) for name in ("token_encoder", "query_encoder")}
    for name, encoder in plain.items():
        seen: Any = tf_keras.models.clone_model(encoder, clone_function=wrap)
        seen.set_weights(encoder.get_weights())
        for layer in layers(seen):
            layer.hold(bool(recipe.clusters))
        setattr(model, name, seen)
    yield
    for name, encoder in plain.items():
        seen = getattr(model, name)
        encoder.set_weights(seen.get_weights())
        for layer in layers(seen):
            encoder.get_layer(layer.name).kernel.assign(layer.held())
        setattr(model, name, encoder)
