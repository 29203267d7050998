"""Staff with the role for it hand in a publication, and phones are offered it."""

import io
import shutil
import tarfile
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from contracts import codec
from contracts.bundle import Publication
from contracts.sync import Problem
from device_sim.updater import BundleUpdater
from export.adoption import FIRST_ROOT
from export.inference.recommender import check_bundle
from export.repository import publish, trusted_root
from sync_server import audit_log, tables
from sync_server.sql_store import open_store


@pytest.fixture
def own(tmp_path, write_model_bundle) -> Path:
    """The publisher's repository, with a bundle."""
    publish(write_model_bundle(tmp_path / "bundle", 3), tmp_path / "own", tmp_path / "keys")
    return tmp_path / "own"


def packed(repository: Path) -> bytes:
    upload = io.BytesIO()
    with tarfile.open(fileobj=upload, mode="w") as tar:
        for name in ("metadata", "targets"):
            tar.add(repository / name, name)
    return upload.getvalue()


def hand_in(world, token, body):
    return world.wire.http.post("/v1/bundles", content=body, headers={"authorization": f"Bearer {token}"})


def test_a_publication_is_handed_in_offered_to_phones_and_noted(server_process, own, staff_tokens, tmp_path):
    trusted = Path(server_process.settings.repository) / FIRST_ROOT
    trusted.parent.mkdir(parents=True)
    shutil.copy(own / FIRST_ROOT, trusted)
    world = server_process.start()
    phone = world.phone()
    phone.log_in("login:ada")
    assert phone.sync().bundle is None
    body = packed(own)
    for token, status in ((staff_tokens["erase"], 403), (staff_tokens["metrics"], 403), ("nobody's", 401)):
        assert hand_in(world, token, body).status_code == status
    damaged = hand_in(world, staff_tokens["publish"], body[:2000])
    assert damaged.status_code == 400
    assert "timestamp.json is neither uploaded nor there" in codec.decode(damaged.content, Problem).detail
    assert phone.sync().bundle is None
    for added in (4, 0):
        done = hand_in(world, staff_tokens["publish"], body)
        assert done.status_code == 200, done.text
        # beside the root, which is there: timestamp, snapshot, targets and the bundle itself
        assert codec.decode(done.content, Publication) == Publication(bundle_version=3, added=added)
    offer = phone.sync().bundle
    updater = BundleUpdater(tmp_path / "phone", trusted_root(own), world.wire.http, check_bundle)
    assert updater.update(offer).version == 3
    store = open_store(world.settings.database_url, world.clock, world.settings.keys)
    with store.read() as connection:
        entries = connection.execute(select(tables.audit_log).where(tables.audit_log.c.action == "publish")).all()
    assert [(row.actor, msgspec.json.decode(row.detail)) for row in entries] == [("staff only-publish", {"bundle": 3})]
    assert audit_log.verify(store)
    store.close()


def test_an_upload_beyond_the_limit_is_answered_with_its_name(sqlite_process, own, staff_tokens):
    sqlite_process.configure(max_publication_bytes=4096)
    world = sqlite_process.start()
    refused = hand_in(world, staff_tokens["publish"], packed(own))
    assert refused.status_code == 413
    assert "max_publication_bytes = 4096" in codec.decode(refused.content, Problem).detail
    refused = hand_in(world, staff_tokens["publish"], bytes(1024))
    assert "trusts no publisher yet" in codec.decode(refused.content, Problem).detail


def test_a_refused_upload_ends_no_other_request(sqlite_process):
    world = sqlite_process.start()
    for _ in range(50):
        assert hand_in(world, "nobody's", bytes(2**18)).status_code == 401  # each over the connection of the one before


def test_a_refused_upload_that_is_long_is_told_that_the_connection_ends(sqlite_process):
    world = sqlite_process.start()

    def upload():
        for _ in range(64):
            yield bytes(2**16)

    refused = hand_in(world, "nobody's", upload())
    assert refused.status_code == 401
    assert refused.headers["connection"] == "close"
    assert world.wire.http.get("/healthz").is_success
