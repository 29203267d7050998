"""A tiny device model in a whole bundle, a published repository, and the real sync server in a process of its own."""

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import numpy as np
import pytest

from contracts import codec
from contracts.bundle import (
    CATALOGUE,
    GOLDENS,
    TFLITE,
    TRAINABLE_TFLITE,
    ContextField,
    GoldenAnswer,
    GoldenHistory,
    Goldens,
    Signature,
    TensorSpec,
)
from contracts.summary import History
from device_sim.clock import FleetTime
from device_sim.identity_provider import IdentityProvider
from device_sim.runtime import Runtime
from sync_server.staff import token_digest

ITEMS, LENGTH, CANDIDATES, WIDTH, TARGETS, NEGATIVES = 50, 16, 10, 8, 4, 12
STAFF_TOKEN = "the staff's token of the tests"
AUDIENCE = "pocketrec-tests"
START_MS = 1_490_000_000_000  # in March 2017, and 20 s past a minute
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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def write_model_bundle(models, write_bundle, tmp_path_factory) -> Callable[..., Path]:
    """Write a bundle that recommends and trains: `write_model_bundle(directory, version)`."""
    catalogue = catalogue_bytes(tmp_path_factory.mktemp("catalogue") / CATALOGUE)
    fields = {
        "items": ITEMS,
        "history_length": LENGTH,
        "candidates": CANDIDATES,
        "context": CONTEXT,
        "signatures": signatures(),
        "adapter": {"bias": (ITEMS + 1,), "scale": (WIDTH,)},
    }

    def goldens(directory: Path) -> bytes:
        runtime = Runtime(directory, write_bundle(directory, 1, models | {CATALOGUE: catalogue}, **fields))
        answers = []
        for golden in GOLDEN_HISTORIES:
            ranking = runtime.recommend(
                History(golden.items, golden.events, golden.counts, golden.ages), golden.context
            )
            answers.append(GoldenAnswer(ranking.items, ranking.scores))
        return codec.encode(Goldens(histories=GOLDEN_HISTORIES, answers={TFLITE: tuple(answers)}, tolerance=1e-3))

    golden_bytes = goldens(tmp_path_factory.mktemp("goldens"))

    def write(directory: Path, version: int = 1, files: dict[str, bytes] | None = None) -> Path:
        contents = models | {CATALOGUE: catalogue, GOLDENS: golden_bytes} | (files or {})
        write_bundle(directory, version, contents, **fields)
        return directory

    return write


@pytest.fixture(scope="session")
def model_bundle(write_model_bundle, tmp_path_factory) -> Path:
    """A bundle that recommends and trains; not to be changed."""
    return write_model_bundle(tmp_path_factory.mktemp("bundle"))


class Server:
    """A sync server in a process of its own, with the time that it reads and the identity provider that it trusts."""

    def __init__(self, directory: Path, **limits: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._limits = limits
        self.repository = directory / "repository"
        self.database = directory / "sync.sqlite"
        self.time = FleetTime(START_MS, directory / "clock")
        self.identity_provider = IdentityProvider(AUDIENCE, self.time.now_ms)
        self.start()

    def start(self) -> None:
        settings = {
            "database_url": f"sqlite:///{self.database}",
            "secret_key": bytes(32),
            "staff": {"tests": {"token_sha256": token_digest(STAFF_TOKEN), "roles": ["ingest"]}},
            "identity_key": self.identity_provider.public_key,
            "identity_audience": AUDIENCE,
            "repository": str(self.repository),
            "clock_file": str(self.directory / "clock"),
            **self._limits,
        }
        (self.directory / "settings.json").write_bytes(msgspec.json.encode(settings))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sync_server", "--settings", str(self.directory / "settings.json")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split()[-1]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def http(self, transport: httpx.BaseTransport | None = None) -> httpx.Client:
        return httpx.Client(base_url=self.url, transport=transport, timeout=30)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server that tests share: each with devices and owners of its own, and without bundles."""
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


@pytest.fixture
def own_server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A running server for one test; parametrized indirectly with a dict, one of other limits."""
    running = Server(tmp_path / "server", **getattr(request, "param", {}))
    yield running
    running.stop()
