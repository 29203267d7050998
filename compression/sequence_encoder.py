"""A causal transformer as the device model's encoder, for people who seldom take an item twice: order is what counts.

It learns from every position of a history at once; on the phone only the last position is asked for, so the last block
answers for that one alone.
"""

from typing import Any

import tensorflow as tf
import tf_keras
from tf_keras.layers import Add, Dense

from compression.device_spec import DeviceModelSpec
from compression.gelu import gelu

MASKED = -1e4  # large enough to vanish in a softmax, small enough for float16
HORIZONS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)  # items: what a place in the history is described by
EPSILON = 1e-5


class Places(tf_keras.layers.Layer):
    """seen float32 [B, L] -> how far from the end each place is, float32 [B, L, horizons] in (0, 1].

    Places are counted from the input, as the mask below: counted from its shape alone, they would be stored.
    """

    def call(self, seen: tf.Tensor) -> tf.Tensor:
        from_end = tf.cumsum((seen + 1.0) - seen, axis=1, reverse=True) - 1.0
        return tf.exp(tf.expand_dims(from_end, -1) / (-tf.constant(HORIZONS, tf.float32)))


class CausalMask(tf_keras.layers.Layer):
    """seen float32 [B, L] -> what is added to the attention of place i to place j, float32 [B, 1, L, L].

    The order is counted from the input and not written down: a table of L x L would be stored in the artifact.
    """

    def call(self, seen: tf.Tensor) -> tf.Tensor:
        order = tf.cumsum(seen + 1.0, axis=1)  # increases, whatever is seen
        earlier = tf.cast(order[:, :, None] >= order[:, None, :], tf.float32)
        return tf.expand_dims((1.0 - earlier * seen[:, None, :]) * MASKED, 1)


class LastMask(tf_keras.layers.Layer):
    """seen float32 [B, L] -> what is added to the attention of the last place, float32 [B, 1, 1, L]."""

    def call(self, seen: tf.Tensor) -> tf.Tensor:
        return ((1.0 - seen) * MASKED)[:, None, None, :]


class Last(tf_keras.layers.Layer):
    """float32 [B, L, width] -> its last place, float32 [B, 1, width]."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x[:, -1:]


class Attention(tf_keras.layers.Layer):
    """Scaled dot products: queries [B, Q, width], keys and values [B, L, width], mask [B, 1, Q, L] -> [B, Q, width]."""

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"heads": self.heads}

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        query, key, value, mask = inputs
        size = query.shape[-1] // self.heads

        def split(x: tf.Tensor) -> tf.Tensor:
            length = x.shape[1] or tf.shape(x)[1]
            return tf.transpose(tf.reshape(x, (-1, length, self.heads, size)), (0, 2, 1, 3))

        weights = tf.nn.softmax(tf.matmul(split(query), split(key), transpose_b=True) * size**-0.5 + mask)
        mixed = tf.transpose(tf.matmul(weights, split(value)), (0, 2, 1, 3))
        return tf.reshape(mixed, (-1, query.shape[1] or tf.shape(query)[1], query.shape[-1]))


class RootMeanSquareNorm(tf_keras.layers.Layer):
    """float32 [..., width] -> the same of root mean square 1 (Zhang and Sennrich 2019, arXiv:1910.07467).

    Without gain and bias: the dense layers behind it have them.
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x * tf.math.rsqrt(tf.reduce_mean(x * x, axis=-1, keepdims=True) + EPSILON)


class _Block:
    """The layers of one block, applied to all places and to the last one alone."""

    def __init__(self, spec: DeviceModelSpec, number: int) -> None:
        def named(name: str) -> str:
            return f"block{number}_{name}"

        width = spec.encoder_width
        self.attention_norm = RootMeanSquareNorm(name=named("attention_norm"))
        self.feed_norm = RootMeanSquareNorm(name=named("feed_norm"))
        self.query = Dense(width, name=named("query"))
        self.key = Dense(width, use_bias=False, name=named("key"))  # a bias would add the same to every place
        self.value, self.out = Dense(width, name=named("value")), Dense(width, name=named("out"))
        self.feed_in = Dense(spec.feed * width, activation=gelu, name=named("feed_in"))
        self.feed_out = Dense(width, name=named("feed_out"))
        self.attention, self.last = Attention(spec.heads, name=named("attention")), Last(name=named("last"))
        self.attended, self.fed = Add(name=named("attended")), Add(name=named("fed"))

    def all_places(self, x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        normed = self.attention_norm(x)
        mixed = self.attention([self.query(normed), self.key(normed), self.value(normed), mask])
        return self._feed(self.attended([x, self.out(mixed)]))

    def last_place(self, x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        normed = self.attention_norm(x)
        mixed = self.attention([self.query(self.last(normed)), self.key(normed), self.value(normed), mask])
        return self._feed(self.attended([self.last(x), self.out(mixed)]))

    def _feed(self, x: tf.Tensor) -> tf.Tensor:
        return self.fed([x, self.feed_out(self.feed_in(self.feed_norm(x)))])


def build_sequence_encoder(spec: DeviceModelSpec, features: int) -> tf_keras.Model:
    """Functional model of a whole history, of any length.

    Args:
        spec: widths, heads and blocks, at least one.
        features: of each token.

    Returns:
        vectors float32 [B, L, width], features float32 [B, L, features], seen float32 [B, L] -> what every place says
        of what follows it, float32 [B, L, encoder_width], and what the last says, float32 [B, 1, encoder_width].
    """
    width = spec.encoder_width
    vectors = tf_keras.Input((None, spec.width), name="vectors")
    described_by = tf_keras.Input((None, features), name="features")
    seen = tf_keras.Input((None,), name="seen")
    evidence = tf_keras.layers.Concatenate(name="evidence")([described_by, Places(name="places")(seen)])
    described = Dense(width, name="describe")(evidence)
    widened = Dense(width, use_bias=False, name="widen")(vectors) if spec.hidden else vectors
    x = Add(name="token")([widened, described])
    causal, last = CausalMask(name="causal_mask")(seen), LastMask(name="last_mask")(seen)
    blocks = [_Block(spec, number) for number in range(spec.blocks)]
    for block in blocks[:-1]:
        x = block.all_places(x, causal)
    outputs = [blocks[-1].all_places(x, causal), blocks[-1].last_place(x, last)]
    return tf_keras.Model([vectors, described_by, seen], outputs, name="token_encoder")


def build_sequence_query(spec: DeviceModelSpec) -> tf_keras.Model:
    """Functional model: what a place says, float32 [B, encoder_width] -> query float32 [B, width]."""
    said = tf_keras.Input((spec.encoder_width,), name="pooled")
    query = Dense(spec.width, name="query_out")(RootMeanSquareNorm(name="query_norm")(said))
    return tf_keras.Model(said, query, name="query_encoder")
