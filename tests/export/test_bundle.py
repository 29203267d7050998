"""The bundle as a whole: the same bytes twice, verified, published, fetched by a phone, and true to its inputs."""

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from contracts import codec
from contracts.bundle import CATALOGUE, CORE_ML, MANIFEST, MODEL_CARD, REPORT, TFLITE, PrivacyStatement
from contracts.errors import BundleError
from contracts.rounds import RoundTask
from contracts.summary import History
from contracts.sync import BundleOffer
from device_sim.examples import Example
from device_sim.trainer import Trainer
from device_sim.updater import BundleUpdater
from export.bundle import build_bundle
from export.catalogue import CatalogueContents
from export.inference.recommender import Recommender, check_bundle
from export.keys import PUBLIC_KEY, create_keys, load_public_key, sign_manifest
from export.repository import publish, trusted_root
from export.verify import read_manifest, verify_bundle, verify_signature


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_process_builds_the_same_bytes(bundle: Path, other_build: Path) -> None:
    ours, theirs = files_of(bundle), files_of(other_build / "bundle")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def test_it_verifies_and_works_on_a_phone(bundle: Path, model, tiny) -> None:
    manifest = verify_bundle(bundle)
    check_bundle(bundle, manifest)
    assert (manifest.items, manifest.history_length, manifest.candidates) == (tiny.ITEMS, tiny.LENGTH, tiny.CANDIDATES)
    assert manifest.catalogue_version == tiny.bundle_inputs(model, bundle).catalogue.version
    assert sum(name.startswith(f"{CORE_ML}/") for name in manifest.files) == 3
    assert Recommender(bundle, manifest).catalogue.popular("early", 3) == (2, 3, 4)


def test_the_manifest_that_is_returned_is_the_one_that_is_read(model, exported: Path, tiny, tmp_path: Path) -> None:
    returned = build_bundle(tiny.bundle_inputs(model, exported / "shipped", version=5), tmp_path / "bundle")
    assert returned == read_manifest(tmp_path / "bundle")
    assert returned.bundle_version == 5
    assert list(tmp_path.iterdir()) == [tmp_path / "bundle"]  # nothing else is left beside it


def test_the_flat_adapter_has_one_order_for_model_manifest_and_phone(bundle: Path, model) -> None:
    manifest = verify_bundle(bundle)
    values = model.adapter_values()
    assert list(manifest.adapter) == list(values)  # JSON sorts names, so the model must
    flat = np.concatenate([value.ravel() for value in values.values()])
    assert Trainer(bundle, manifest).weights().tobytes() == flat.astype("<f4").tobytes()


def test_a_phone_trains_its_adapter_from_the_bundle(bundle: Path) -> None:
    manifest = verify_bundle(bundle)
    trainer = Trainer(bundle, manifest)
    start = trainer.weights()
    task = RoundTask(
        task_id="t", round_id="r", bundle_version=1, adapter=start.tobytes(), clipping_norm=0.5, learning_rate=0.1,
        epochs=2, deadline=0,
    )  # fmt: skip
    example = Example(0, History((3, 9), (9, 9), (1.0, 2.0), (90.0, 4.0)), (9, 77))
    update = trainer.update(task, [example], lambda _: (0, 0, 1), np.random.default_rng(0))
    assert update is not None
    assert 0 < np.linalg.norm(np.frombuffer(update, "<f4")) <= 0.5


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_signed_published_and_fetched_whole_then_by_patch(
    model, exported: Path, tiny, tmp_path: Path, site: str
) -> None:
    keys = tmp_path / "keys"
    create_keys(keys)
    phone = None
    for version in (1, 2):
        directory = tmp_path / f"bundle-{version}"
        build_bundle(tiny.bundle_inputs(model, exported / "shipped", version), directory)
        sign_manifest(directory, keys)
        verify_bundle(directory)
        verify_signature(directory, load_public_key(keys / PUBLIC_KEY))
        publish(directory, tmp_path / "repository", keys)
        root = trusted_root(tmp_path / "repository")
        phone = phone or BundleUpdater(tmp_path / "phone", root, httpx.Client(base_url=site), check_bundle)
        update = phone.update(BundleOffer(version=version, repository="/repository"))
        assert update is not None
        assert (update.version, update.patched) == (version, version == 2)
        assert phone.active is not None
        assert files_of(phone.active) == files_of(directory)


def test_people_s_pages_are_whole_and_say_what_was_given(bundle: Path, tiny, model) -> None:
    report, card = (bundle / REPORT).read_text(), (bundle / MODEL_CARD).read_text()
    for page in (report, card):
        assert ".2235 [.2135, .2335]" in page  # the artifact's figure
        assert ".0917 [.0817, .1017]" in page  # the baseline's
        assert "outside the guarantee" in page
        assert "prune50_dynamic_wi8_afp32" in page
        assert not re.search(r"\b20[2-9]\d-[01]\d-[0-3]\d\b", page)  # no date: the same inputs give the same bytes
    assert tiny.bundle_inputs(model, bundle).origin in card
    assert "simulated &lt;data&gt;" in report
    assert not re.search(r"(src|href)\s*=|https?://|<script|@import|url\(", report)  # self-contained


def test_a_claimed_epsilon_says_whom_it_covers(model, exported: Path, tiny, tmp_path: Path) -> None:
    privacy = PrivacyStatement(base_model="outside", statistics="outside", epsilon=1.8512, delta=1e-5, rounds=3)
    inputs = replace(tiny.bundle_inputs(model, exported / "shipped"), privacy=privacy)
    build_bundle(inputs, tmp_path / "bundle")
    card = (tmp_path / "bundle" / MODEL_CARD).read_text()
    assert re.search(r"rounds: 3, with \(epsilon, delta\) = \(1\.85, 1e-05\)", card)
    assert "not those whose data trained the base model" in card


def test_what_does_not_fit_is_refused_and_nothing_is_left(model, exported: Path, tiny, tmp_path: Path) -> None:
    inputs = tiny.bundle_inputs(model, exported / "shipped")
    short = CatalogueContents(inputs.catalogue.items[:-1], inputs.catalogue.popularity, "USD")
    with pytest.raises(BundleError, match="has 499 items, the model ranks 500"):
        build_bundle(replace(inputs, catalogue=short), tmp_path / "bundle")
    with pytest.raises(BundleError, match="is missing: export the model first"):
        build_bundle(replace(inputs, artifacts=tmp_path), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(BundleError, match="is not empty"):
        build_bundle(inputs, tmp_path / "taken")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for name, data in files_of(exported / "shipped").items():
        (damaged / name).parent.mkdir(parents=True, exist_ok=True)
        (damaged / name).write_bytes(b"no model" if name == TFLITE else data)
    with pytest.raises(BundleError, match=r"model\.tflite cannot be loaded"):
        build_bundle(replace(inputs, artifacts=damaged), tmp_path / "bundle")
    build_bundle(inputs, tmp_path / "bundle")  # what a failed build left behind is no hindrance
    verify_bundle(tmp_path / "bundle")


def test_a_flipped_byte_of_any_file_is_found(bundle: Path, tmp_path: Path) -> None:
    manifest = read_manifest(bundle)
    for name in manifest.files:
        for each, data in files_of(bundle).items():
            path = tmp_path / each
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes([data[0] ^ 1]) + data[1:] if each == name else data)
        with pytest.raises(BundleError, match=re.escape(name)):
            verify_bundle(tmp_path)
    assert {CATALOGUE, TFLITE} <= manifest.files.keys()
    assert MANIFEST not in manifest.files


def test_the_manifest_is_the_one_encoding_of_what_it_says(bundle: Path) -> None:
    assert (bundle / MANIFEST).read_bytes() == codec.encode(read_manifest(bundle))
