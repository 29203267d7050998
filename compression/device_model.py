"""The device model: one `tf.Module`, written once, of which every artifact is a conversion.

A person's history is a summary: distinct items, each with its strongest event, a fading count and an age. Tokens are
pooled by learned attention into a query (linear in the history's length, where self-attention would be quadratic); the
query scores every item of the catalogue against one table; and a copy head adds to the items of the history what their
counts and ages say about buying them again.

Two coordinates of the table are biases: the query's last but one coordinate is a learned constant, so that the table's
is the item's popularity, and the last is 0, so that the table's is free for the copy head: how much the item is bought
again at all.

A model of the next item may know its successors besides: what most often follows the latest items of the history.

The adapter is what a phone may train: context, the query's bias and low-rank correction, and the copy head; everything
else stays fixed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras.layers import Dense

from compression.device_spec import DeviceModelSpec
from compression.gelu import gelu
from compression.inverted_lists import FrozenCodes
from compression.item_codes import StoredCodes, TrainableCodes
from compression.item_table import FrozenTable, ItemTable, Kept, StoredTable, TrainableTable
from compression.recipe import ALL_INT8, Recipe
from compression.sequence_encoder import MASKED, build_sequence_encoder, build_sequence_query
from compression.successors import Successors
from contracts.bundle import WISH, WISHES
from contracts.errors import ConfigError
from contracts.events import EVENT_CODES
from contracts.rounds import MAX_ADAPTER_FLOATS

EVENT_SIZE = len(EVENT_CODES) + 1
FEATURES = 4 + EVENT_SIZE
LOW_RANK = 4
CONTEXT_WIDTH = 4  # of each context field's table before it is spread over the query
COPY_HIDDEN = 16
LOG_COUNT = 0  # its place among the features
DAY, WEEK = 24.0, 168.0  # hours
SIGNATURES = ("recommend", "train", "get_weights", "set_weights")


def adapter_shapes(spec: DeviceModelSpec) -> dict[str, tuple[int, ...]]:
    """Name and shape of every adapter tensor, in the order of the flat vector: by name, as JSON keeps it."""
    shapes: dict[str, tuple[int, ...]] = {
        "query_bias": (spec.width,),
        "low_rank_in": (spec.width, LOW_RANK),
        "low_rank_out": (LOW_RANK, spec.width),
        "popularity": (1,),
        "copy_in": (FEATURES + 2, COPY_HIDDEN),
        "copy_bias": (COPY_HIDDEN,),
        "copy_out": (COPY_HIDDEN,),
        "copy_linear": (FEATURES + 2,),
        "copy_offset": (1,),
    }
    for field in spec.context:
        if field.name == WISH:
            continue
        shapes[f"context_{field.name}"] = (field.size, CONTEXT_WIDTH)
        shapes[f"spread_{field.name}"] = (CONTEXT_WIDTH, spec.width)
    floats = sum(int(np.prod(shape)) for shape in shapes.values())
    if floats > MAX_ADAPTER_FLOATS:
        raise ConfigError(
            f"the adapter would have {floats} floats, {MAX_ADAPTER_FLOATS} are allowed: "
            "declare smaller context fields or a smaller width"
        )
    return dict(sorted(shapes.items()))


def _initial_adapter(spec: DeviceModelSpec, rng: np.random.Generator) -> dict[str, np.ndarray]:
    values = {name: np.zeros(shape, np.float32) for name, shape in adapter_shapes(spec).items()}
    values["popularity"] += 1.0
    for name in values:  # the other half of each product starts at 0, so that none of them changes an answer yet
        if name.startswith(("low_rank_in", "spread_", "copy_in")):
            values[name] = rng.normal(0.0, 0.1, values[name].shape).astype(np.float32)
    values["copy_linear"][LOG_COUNT] = 1.0  # begin as the person's own frequency, with popularity below it
    return values


# Every layer is named: an unnamed one is numbered by how many this process made before, and artifacts keep the names.


def build_token_encoder(spec: DeviceModelSpec) -> tf_keras.Model:
    """Functional model of the tokens: what each holds, and how much each head attends to it; or a causal transformer.

    vectors float32 [B, L, width], features float32 [B, L, FEATURES] -> attention float32 [B, L, heads], values float32
    [B, L, width].
    """
    if spec.blocks:
        return build_sequence_encoder(spec, EVENT_SIZE)
    vectors = tf_keras.Input((spec.history_length, spec.width), name="vectors")
    features = tf_keras.Input((spec.history_length, FEATURES), name="features")
    described = Dense(spec.width, name="describe_out")(Dense(32, activation=gelu, name="describe_in")(features))
    summed = tf_keras.layers.Add(name="token")([vectors, described])
    tokens = tf_keras.layers.LayerNormalization(epsilon=1e-5, name="token_norm")(summed)
    hidden = Dense(spec.width, activation=gelu, name="attention_in")(tokens)
    attention = Dense(spec.heads, name="attention_out")(hidden)
    values = Dense(spec.width, name="values")(tokens)
    return tf_keras.Model([vectors, features], [attention, values], name="token_encoder")


def build_query_encoder(spec: DeviceModelSpec) -> tf_keras.Model:
    """Functional model: pooled float32 [B, width] -> query float32 [B, width]."""
    if spec.blocks:
        return build_sequence_query(spec)
    pooled = tf_keras.Input((spec.width,), name="pooled")
    hidden = Dense(2 * spec.width, activation=gelu, name="query_in")(pooled)
    mixed = tf_keras.layers.Add(name="query_sum")([pooled, Dense(spec.width, name="query_mix")(hidden)])
    # Small: a new model answers with popularity, where a random query would be far off among vectors that are known.
    small = tf_keras.initializers.RandomNormal(stddev=0.01)
    query = Dense(spec.width, kernel_initializer=small, name="query_out")(
        tf_keras.layers.LayerNormalization(epsilon=1e-5, name="query_norm")(mixed)
    )
    return tf_keras.Model(pooled, query, name="query_encoder")


class DeviceModel(tf.Module):
    """The device model of `contracts`: signatures recommend, train, get_weights and set_weights."""

    def __init__(
        self,
        spec: DeviceModelSpec,
        table: ItemTable | TrainableCodes | FrozenCodes,
        token_encoder: tf_keras.Model,
        query_encoder: tf_keras.Model,
        adapter: dict[str, np.ndarray],
        recipe: Recipe = ALL_INT8,
        successors: Successors | None = None,
    ) -> None:
        super().__init__(name="device_model")
        self.successors = successors  # with a table only, not with item codes
        self.spec, self.table, self.recipe = spec, table, recipe
        self.token_encoder, self.query_encoder = token_encoder, query_encoder
        self.adapter = {name: tf.Variable(adapter[name].astype(np.float32), name=name) for name in adapter_shapes(spec)}
        is_popularity = np.zeros((1, spec.width), np.float32)
        is_popularity[0, -2] = 1.0
        is_free = np.ones((1, spec.width), np.float32)
        is_free[0, -2:] = 0.0
        is_repeat = np.zeros((spec.width,), np.float32)
        is_repeat[-1] = 1.0
        self._is_popularity, self._is_free, self._is_repeat = is_popularity, is_free, is_repeat

    @classmethod
    def create(cls, spec: DeviceModelSpec, table: np.ndarray, seed: int, recipe: Recipe = ALL_INT8) -> "DeviceModel":
        """A new model.

        Args:
            spec: shapes.
            table: float32 [items + 1, width], row 0 zero; see the module's docstring for the last two columns.
            seed: of the encoder's and the adapter's initial weights.
            recipe: how it will be stored.
        """
        tf_keras.utils.set_random_seed(seed)
        rng = np.random.default_rng(seed)
        return cls(
            spec,
            TrainableTable(table, recipe.table),
            build_token_encoder(spec),
            build_query_encoder(spec),
            _initial_adapter(spec, rng),
            recipe,
        )

    def frozen(self, kept: Kept, adapter: dict[str, np.ndarray] | None = None) -> "DeviceModel":
        """The same model over its table as it is stored, to be exported.

        Args:
            kept: how the graph keeps the item table; the numbers are the same.
            adapter: other adapter values, such as those of a federated round.
        """
        stored = self.table.frozen()
        return DeviceModel(
            self.spec,
            FrozenCodes(stored, kept) if isinstance(stored, StoredCodes) else FrozenTable(stored, kept),
            self.token_encoder,
            self.query_encoder,
            adapter or self.adapter_values(),
            self.recipe,
            self.successors,
        )

    def thaw_table(self) -> None:
        """Train the table on from what is stored, on the same grid. Item codes stay; the model trains around them."""
        stored = self.table.frozen()
        if isinstance(stored, StoredTable):
            self.table = TrainableTable.thawed(stored)

    def copied(self, recipe: Recipe) -> "DeviceModel":
        """A model of its own with the same weights, over the same table, to be compressed by a recipe."""
        tokens, query = (tf_keras.models.clone_model(each) for each in (self.token_encoder, self.query_encoder))
        tokens.set_weights(self.token_encoder.get_weights())
        query.set_weights(self.query_encoder.get_weights())
        return DeviceModel(self.spec, self.table, tokens, query, self.adapter_values(), recipe, self.successors)

    def adapter_values(self) -> dict[str, np.ndarray]:
        return {name: variable.numpy() for name, variable in self.adapter.items()}

    def encode(
        self,
        items: tf.Tensor,
        events: tf.Tensor,
        counts: tf.Tensor,
        ages: tf.Tensor,
        context: tf.Tensor,
        drop: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Query and copy head of a batch.

        Args:
            items: int32 [B, L], 0 is padding.
            events: int32 [B, L].
            counts: float32 [B, L], purchases.
            ages: float32 [B, L], hours.
            context: int32 [B, C].
            drop: bool [B, L], tokens that the query may not see (a regulariser while training).

        Returns:
            query float32 [B, width]; base scores of the history's items float32 [B, L]; what the copy head adds
            to them, float32 [B, L], 0 at padding: base and gain together are the copy head's score alone.
        """
        spec, length = self.spec, self.spec.history_length
        present = tf.cast(items > 0, tf.float32)
        features = self._features(events, counts, ages) * tf.expand_dims(present, -1)
        vectors = self.table.rows(items)
        seen = present if drop is None else present * (1.0 - tf.cast(drop, tf.float32))
        if spec.blocks:
            _, last = self.token_encoder([vectors, tf.one_hot(events, EVENT_SIZE), seen])
            pooled = tf.reshape(last, (-1, spec.encoder_width))
        else:
            attention, values = self.token_encoder([vectors, features])
            outside = tf.expand_dims(1.0 - seen, -1) * MASKED
            weights = tf.nn.softmax(attention + outside, axis=1) * tf.expand_dims(seen, -1)
            by_head = tf.reshape(values, (-1, length, spec.heads, spec.width // spec.heads))
            pooled = tf.reshape(tf.reduce_sum(tf.expand_dims(weights, -1) * by_head, axis=1), (-1, spec.width))
        query = self._adapted(self.query_encoder(pooled), context)
        base = tf.reduce_sum(vectors * tf.expand_dims(query, 1), axis=-1)
        repeat = tf.reduce_sum(vectors * self._is_repeat, axis=-1)
        likeness = tf.stop_gradient(0.2 * base)  # what the catalogue's scores learn is not the copy head's to change
        evidence = tf.concat([features, tf.expand_dims(likeness, -1), tf.expand_dims(repeat, -1)], axis=-1)
        hidden = gelu(
            tf.reshape(
                tf.matmul(tf.reshape(evidence, (-1, FEATURES + 2)), self.adapter["copy_in"]), (-1, length, COPY_HIDDEN)
            )
            + self.adapter["copy_bias"]
        )
        copied = (
            tf.reduce_sum(hidden * self.adapter["copy_out"], axis=-1)
            + tf.reduce_sum(evidence * self.adapter["copy_linear"], axis=-1)
            + self.adapter["copy_offset"]
            + repeat
        )
        return query, base, (copied - base) * present

    def queries_at(self, items: tf.Tensor, events: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        """What a model with blocks asks for at every place, float32 [B, L, width]; inputs as for `encode`.

        Counts and ages are those of the moment of asking, which is another at every place: tokens do not hold them.
        """
        seen = tf.cast(items > 0, tf.float32)
        places, _ = self.token_encoder([self.table.rows(items), tf.one_hot(events, EVENT_SIZE), seen])
        length = tf.shape(items)[1]
        flat = self.query_encoder(tf.reshape(places, (-1, self.spec.encoder_width)))
        return tf.reshape(self._adapted(flat, tf.repeat(context, length, axis=0)), (-1, length, self.spec.width))

    def _features(self, events: tf.Tensor, counts: tf.Tensor, ages: tf.Tensor) -> tf.Tensor:
        numbers = tf.stack(
            [
                tf.math.log(counts + 0.02),
                tf.math.log(ages / DAY + 1.0),
                tf.exp(ages / -WEEK),
                tf.math.log(counts + 1.0),
            ],
            axis=-1,
        )
        return tf.concat([numbers, tf.one_hot(events, EVENT_SIZE)], axis=-1)

    def _adapted(self, query: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        weights = self.adapter
        query += weights["query_bias"] + tf.matmul(tf.matmul(query, weights["low_rank_in"]), weights["low_rank_out"])
        for column, field in enumerate(self.spec.context):
            if field.name == WISH:
                continue
            chosen = tf.one_hot(context[:, column], field.size)
            query += tf.matmul(tf.matmul(chosen, weights[f"context_{field.name}"]), weights[f"spread_{field.name}"])
        return query * self._is_free + self._is_popularity * weights["popularity"]

    def scores(
        self, items: tf.Tensor, events: tf.Tensor, counts: tf.Tensor, ages: tf.Tensor, context: tf.Tensor
    ) -> tf.Tensor:
        """Score of every catalogue item for one history: float32 [items + 1], padding far below all others."""
        query, _, gain = self.encode(items, events, counts, ages, context)
        size = self.spec.items + 1
        gain = self._as_wished(gain, context)
        if self.table.rounds_queries:  # popularity apart, each on its own scale: it would leave little of the rest
            query = tf.concat([query * self._is_free, query * self._is_popularity], 0)
        everything = tf.reduce_sum(self.table.score(query), 0)
        # Padding is masked by one more entry of the scatter: a mask of the catalogue's length would be stored with it.
        # Twice, so that it stays below a history that an app does not wish to see.
        index = tf.concat([tf.reshape(items, (-1, 1)), [[0]]], axis=0)
        added = tf.concat([tf.reshape(gain, (-1,)), [2 * MASKED]], axis=0)
        if self.successors is not None:
            everything += self.successors.gain(items)
        return everything + tf.scatter_nd(index, added, (size,))

    def _as_wished(self, gain: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        """The copy head's gain, far down where an app wishes for new items only."""
        for column, field in enumerate(self.spec.context):
            if field.name == WISH:
                gain += tf.cast(tf.equal(context[:, column : column + 1], WISHES["new"]), tf.float32) * MASKED
        return gain

    def _history_specs(self) -> list[tf.TensorSpec]:
        length = self.spec.history_length
        return [
            tf.TensorSpec((1, length), tf.int32, name="items"),
            tf.TensorSpec((1, length), tf.int32, name="events"),
            tf.TensorSpec((1, length), tf.float32, name="counts"),
            tf.TensorSpec((1, length), tf.float32, name="ages"),
            tf.TensorSpec((1, len(self.spec.context)), tf.int32, name="context"),
        ]

    def _recommend(
        self, items: tf.Tensor, events: tf.Tensor, counts: tf.Tensor, ages: tf.Tensor, context: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        if isinstance(self.table, FrozenCodes):
            query, base, gain = self.encode(items, events, counts, ages, context)
            found, scores = self.table.recommend(
                query, items, base + self._as_wished(gain, context), self.spec.candidates
            )
            return {"items": found, "scores": scores}
        scores, found = tf.math.top_k(self.scores(items, events, counts, ages, context)[None, :], self.spec.candidates)
        return {"items": found, "scores": scores}

    def _train(
        self,
        items: tf.Tensor,
        events: tf.Tensor,
        counts: tf.Tensor,
        ages: tf.Tensor,
        context: tf.Tensor,
        targets: tf.Tensor,
        negatives: tf.Tensor,
        rate: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        names = list(self.adapter)
        with tf.GradientTape() as tape:
            loss = self._basket_loss(items, events, counts, ages, context, targets, negatives)
        for name, gradient in zip(names, tape.gradient(loss, [self.adapter[n] for n in names]), strict=True):
            if gradient is not None:
                self.adapter[name].assign_sub(rate * gradient)
        return {"loss": loss}

    def _basket_loss(
        self,
        items: tf.Tensor,
        events: tf.Tensor,
        counts: tf.Tensor,
        ages: tf.Tensor,
        context: tf.Tensor,
        targets: tf.Tensor,
        negatives: tf.Tensor,
    ) -> tf.Tensor:
        """Cross-entropy of a basket among the history, itself and sampled negatives, averaged over the basket."""
        query, base, gain = self.encode(items, events, counts, ages, context)
        wanted = tf.cast(targets > 0, tf.float32)  # [1, T]
        same = tf.cast(tf.equal(targets[:, :, None], items[:, None, :]), tf.float32) * wanted[..., None]
        again = tf.reduce_sum(same, axis=-1)  # [1, T]: 1 where the target is in the history
        target_scores = tf.reduce_sum(self.table.rows(targets) * tf.expand_dims(query, 1), -1) + tf.reduce_sum(
            same * tf.expand_dims(gain, 1), -1
        )
        sampled = tf.reduce_sum(self.table.rows(negatives) * tf.expand_dims(query, 1), -1)
        if self.successors is not None:
            following = self.successors.gain(items)
            base += tf.gather(following, items)
            target_scores += tf.gather(following, targets)
            sampled += tf.gather(following, negatives)
        candidates = tf.concat(
            [
                base + gain + (1.0 - tf.cast(items > 0, tf.float32)) * MASKED,
                target_scores + (1.0 - wanted * (1.0 - again)) * MASKED,  # those in the history stand there already
                sampled + (1.0 - tf.cast(negatives > 0, tf.float32)) * MASKED,
            ],
            axis=1,
        )
        surprise = (tf.reduce_logsumexp(candidates, axis=1, keepdims=True) - target_scores) * wanted
        return tf.reduce_sum(surprise) / tf.maximum(tf.reduce_sum(wanted), 1.0)

    def signatures(self, names: Sequence[str] = SIGNATURES) -> dict[str, Any]:
        """Signatures as concrete functions, traced over this module's weights.

        A concrete function does not keep the module's variables alive: hold the module while one is used.
        """
        spec = self.spec
        history = self._history_specs()
        training = [
            *history,
            tf.TensorSpec((1, spec.train_targets), tf.int32, name="targets"),
            tf.TensorSpec((1, spec.train_negatives), tf.int32, name="negatives"),
            tf.TensorSpec((), tf.float32, name="rate"),
        ]
        shapes = adapter_shapes(spec)

        # TensorFlow Lite's Java API refuses a signature without inputs: `ask` is any number, and comes back as `asked`.
        def get_weights(ask: tf.Tensor) -> dict[str, tf.Tensor]:
            values = {name: variable.read_value() for name, variable in self.adapter.items()}
            return values | {"asked": ask + 0}

        def set_weights(*values: tf.Tensor) -> dict[str, tf.Tensor]:
            for variable, value in zip(self.adapter.values(), values, strict=True):
                variable.assign(value)
            return {"ok": tf.constant(1)}

        weights = [tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()]
        untraced = {
            "recommend": (self._recommend, history),
            "train": (self._train, training),
            "get_weights": (get_weights, [tf.TensorSpec((), tf.int32, name="ask")]),
            "set_weights": (set_weights, weights),
        }
        return {
            name: tf.function(untraced[name][0], input_signature=untraced[name][1]).get_concrete_function()
            for name in names
        }
