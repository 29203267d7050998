"""A bag-of-items model with the signatures of every device model, and what else a bundle around it needs."""

import os
import sqlite3
import tempfile
from pathlib import Path

import numpy as np

from contracts.bundle import TFLITE, TRAINABLE_TFLITE, ContextField, GoldenHistory, Signature, TensorSpec

ITEMS, LENGTH, CANDIDATES, WIDTH, TARGETS, NEGATIVES = 50, 16, 10, 8, 4, 12
CONTEXT = (
    ContextField("hour_of_week", 169, {str(hour): hour + 1 for hour in range(168)}),
    ContextField("device_class", 3, {"phone": 1, "tablet": 2}),
)
HISTORY = {
    "items": ("int32", LENGTH),
    "events": ("int32", LENGTH),
    "counts": ("float32", LENGTH),
    "ages": ("float32", LENGTH),
    "context": ("int32", len(CONTEXT)),
}


def signatures() -> dict[str, Signature]:
    history = tuple(TensorSpec(name, dtype, (1, size)) for name, (dtype, size) in HISTORY.items())  # type: ignore[arg-type]
    weights = (TensorSpec("bias", "float32", (ITEMS + 1,)), TensorSpec("scale", "float32", (WIDTH,)))
    batch = (
        TensorSpec("targets", "int32", (1, TARGETS)),
        TensorSpec("negatives", "int32", (1, NEGATIVES)),
        TensorSpec("rate", "float32", ()),
    )
    answer = (TensorSpec("items", "int32", (1, CANDIDATES)), TensorSpec("scores", "float32", (1, CANDIDATES)))
    return {
        "recommend": Signature(history, answer),
        "train": Signature(history + batch, (TensorSpec("loss", "float32", ()),)),
        "get_weights": Signature((TensorSpec("ask", "int32", ()),), (*weights, TensorSpec("asked", "int32", ()))),
        "set_weights": Signature(weights, (TensorSpec("ok", "int32", ()),)),
    }


def models() -> dict[str, bytes]:
    """The two TFLite files of a bag-of-items model with the signatures of every device model."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    generator = np.random.default_rng(5)
    table = generator.standard_normal((ITEMS + 1, WIDTH)).astype(np.float32)
    table[0] = 0
    history = [tf.TensorSpec((1, size), dtype, name=name) for name, (dtype, size) in HISTORY.items()]

    class Tiny(tf.Module):
        def __init__(self) -> None:
            self.table = tf.constant(table)
            self.bias = tf.Variable(np.zeros(ITEMS + 1, np.float32))
            self.scale = tf.Variable(np.ones(WIDTH, np.float32))

        def logits(self, items, events, counts, ages, context):
            seen = tf.cast(items > 0, tf.float32)
            weights = seen * (counts + 0.1 * tf.cast(events, tf.float32)) * tf.exp(-0.001 * ages)
            query = tf.reduce_sum(weights[:, :, None] * tf.gather(self.table, items), 1) * self.scale
            moment = 0.01 * tf.reduce_sum(tf.cast(context, tf.float32)) * self.table[:, 0]
            padding = np.eye(1, ITEMS + 1, dtype=np.float32) * -1e9
            return tf.matmul(query, self.table, transpose_b=True) + self.bias + moment + padding

        @tf.function(input_signature=history)
        def recommend(self, items, events, counts, ages, context):
            scores, order = tf.math.top_k(self.logits(items, events, counts, ages, context), CANDIDATES)
            return {"items": order, "scores": scores}

        @tf.function(
            input_signature=[
                *history,
                tf.TensorSpec((1, TARGETS), tf.int32, name="targets"),
                tf.TensorSpec((1, NEGATIVES), tf.int32, name="negatives"),
                tf.TensorSpec((), tf.float32, name="rate"),
            ]
        )
        def train(self, items, events, counts, ages, context, targets, negatives, rate):
            wanted = tf.reduce_sum(tf.one_hot(targets[0], ITEMS + 1) * tf.cast(targets[0] > 0, tf.float32)[:, None], 0)
            against = tf.reduce_sum(tf.one_hot(negatives[0], ITEMS + 1), 0)
            with tf.GradientTape() as tape:
                logits = tf.reshape(self.logits(items, events, counts, ages, context), (-1,))
                among = tf.math.log(wanted + against + 1e-9)
                loss = tf.reduce_logsumexp(logits + among) - tf.reduce_sum(logits * wanted) / tf.reduce_sum(wanted)
            for variable, gradient in zip([self.bias, self.scale], tape.gradient(loss, [self.bias, self.scale])):  # noqa: B905
                variable.assign_sub(rate * gradient)
            return {"loss": loss}

        @tf.function(input_signature=[tf.TensorSpec((), tf.int32, name="ask")])
        def get_weights(self, ask):
            return {"bias": self.bias.read_value(), "scale": self.scale.read_value(), "asked": ask + 0}

        @tf.function(
            input_signature=[
                tf.TensorSpec((ITEMS + 1,), tf.float32, name="bias"),
                tf.TensorSpec((WIDTH,), tf.float32, name="scale"),
            ]
        )
        def set_weights(self, bias, scale):
            self.bias.assign(bias)
            self.scale.assign(scale)
            return {"ok": tf.constant(1)}

    def converted(*names: str) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            functions = {name: getattr(model, name).get_concrete_function() for name in names}
            tf.saved_model.save(model, folder, signatures=functions)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            converter.experimental_enable_resource_variables = True
            return converter.convert()

    model = Tiny()
    return {TFLITE: converted("recommend"), TRAINABLE_TFLITE: converted("train", "get_weights", "set_weights")}


def catalogue_bytes(path: Path) -> bytes:
    """A catalogue of ITEMS items, `item-1` the most popular."""
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE items (item_index INTEGER PRIMARY KEY, item_id TEXT UNIQUE NOT NULL, category TEXT,"
        " price_minor INTEGER, margin_minor INTEGER, flags INTEGER NOT NULL DEFAULT 0);"
        "CREATE TABLE popularity (segment TEXT NOT NULL, rank INTEGER NOT NULL, item_index INTEGER NOT NULL,"
        " PRIMARY KEY (segment, rank));"
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT);"
    )
    numbers = range(1, ITEMS + 1)
    connection.executemany("INSERT INTO items VALUES (?, ?, 'c', 100, 10, 0)", [(n, f"item-{n}") for n in numbers])
    connection.executemany("INSERT INTO popularity VALUES ('', ?, ?)", [(n, n) for n in numbers])
    connection.executemany("INSERT INTO popularity VALUES ('late', ?, ?)", [(n, ITEMS + 1 - n) for n in numbers])
    connection.execute("INSERT INTO meta VALUES ('currency', 'USD')")
    connection.commit()
    connection.close()
    return path.read_bytes()


GOLDEN_HISTORIES = (
    GoldenHistory("empty", (), (), (), (), (0, 0)),
    GoldenHistory("one item", (7,), (9,), (1.0,), (3.0,), (5, 1)),
    GoldenHistory("full", tuple(range(1, 17)), (9,) * 16, (0.5,) * 16, tuple(map(float, range(16, 0, -1))), (100, 2)),
)
