"""GELU by tanh (Hendrycks and Gimpel 2016, arXiv:1606.08415): Core ML's converter has no exact one.

TensorFlow writes its cube as a power. Converters know that form and answer with one operation; computed as it stands,
forwards and backwards, it takes longer than the layer before it, so that training takes products instead.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import tensorflow as tf
import tf_keras

_by_products = ContextVar("by_products", default=False)


@tf_keras.utils.register_keras_serializable("pocketrec")  # else a copied layer would have the library's exact one
def gelu(x: tf.Tensor) -> tf.Tensor:
    if not _by_products.get():
        return tf.nn.gelu(x, approximate=True)
    return 0.5 * x * (1.0 + tf.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


@contextmanager
def products_for_powers() -> Iterator[None]:
    """What is traced within computes the same function by products."""
    token = _by_products.set(True)
    try:
        yield
    finally:
        _by_products.reset(token)
