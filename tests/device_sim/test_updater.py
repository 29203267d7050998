"""Bundle updates under attack and power loss: the old bundle keeps working until the new one is known to be good."""

import functools
import http.server
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from contracts.bundle import TFLITE, Manifest
from contracts.errors import BundleError, GoldenError, IntegrityError, RollbackError, SignatureError
from contracts.sync import BundleOffer
from device_sim.updater import BundleUpdater
from export.inference.recommender import check_bundle
from export.repository import publish, trusted_root
from export.verify import verify_bundle
from tests.power_loss import POWER, PowerLoss


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Serves whatever lies in `<tmp_path>/site/repository`; yields the address."""
    (tmp_path / "site").mkdir()
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "site"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Shop:
    """Publishes versions of the tiny bundle and keeps what the site looked like after each."""

    def __init__(self, directory: Path, write: Callable[..., Path]) -> None:
        self.repository = directory / "site" / "repository"
        self._directory = directory
        self._write = write

    def bundle(self, version: int, **options) -> Path:
        path = self._directory / f"bundle-{version}"
        if not path.exists():
            self._write(path, version, **options)
        return path

    def publish(self, version: int, now: datetime | None = None, **options) -> None:
        publish(self.bundle(version, **options), self.repository, self._directory / "keys", now=now)
        shutil.copytree(self.repository, self._directory / f"site-after-{version}")

    def metadata(self, version: int, name: str) -> bytes:
        return (self._directory / f"site-after-{version}" / "metadata" / name).read_bytes()

    def put(self, name: str, data: bytes) -> None:
        (self.repository / "metadata" / name).write_bytes(data)


@pytest.fixture
def shop(tmp_path: Path, write_bundle) -> Shop:
    """Bundles without a model: what matters here is how they travel."""

    def write(directory: Path, version: int, files: dict[str, bytes] | None = None) -> None:
        # Large and equal in all versions, so that a patch is worth it.
        write_bundle(directory, version, {TFLITE: bytes(range(256)) * 40 + b"%d" % version} | (files or {}))

    return Shop(tmp_path, write)


def works(directory: Path, manifest: Manifest) -> None:
    """The check of a phone on which every whole bundle works."""


@pytest.fixture
def open_updater(site: str, shop: Shop, tmp_path: Path) -> Callable[..., BundleUpdater]:
    def open_one(check=works, name: str = "phone") -> BundleUpdater:
        return BundleUpdater(tmp_path / name, trusted_root(shop.repository), httpx.Client(base_url=site), check)

    return open_one


def offer(version: int) -> BundleOffer:
    return BundleOffer(version=version, repository="/repository")


def test_the_first_bundle_comes_whole_and_the_next_by_patch(shop: Shop, open_updater) -> None:
    shop.publish(1)
    updater = open_updater()
    assert updater.version == 0
    whole = updater.update(offer(1))
    assert (whole.version, whole.patched) == (1, False)
    shop.publish(2)
    patched = updater.update(offer(2))
    assert (patched.version, patched.patched) == (2, True)
    assert patched.downloaded_bytes < whole.downloaded_bytes
    assert verify_bundle(updater.active) == verify_bundle(shop.bundle(2))
    assert updater.update(offer(2)) is None
    reopened = open_updater()
    assert reopened.version == 2


def test_a_phone_left_behind_takes_the_whole_bundle(shop: Shop, open_updater) -> None:
    shop.publish(1)
    updater = open_updater()
    updater.update(offer(1))
    for version in (2, 3, 4, 5):
        shop.publish(version)
    assert not updater.update(offer(5)).patched  # patches come from the last three only


def test_a_patch_against_another_base_falls_back_to_the_whole(shop: Shop, open_updater, tmp_path: Path) -> None:
    shop.publish(1)
    updater = open_updater()
    updater.update(offer(1))
    shop.publish(2)
    # The phone's bundle 1 is another build of that version: intact in itself, but not the base of the patch.
    shutil.rmtree(tmp_path / "phone" / "bundles" / "1")
    other = Shop(tmp_path / "other", shop._write)
    shutil.copytree(other.bundle(1, files={TFLITE: b"another build"}), tmp_path / "phone" / "bundles" / "1")
    done = updater.update(offer(2))
    assert (done.version, done.patched) == (2, False)


def test_only_the_active_and_the_last_good_bundle_are_kept(shop: Shop, open_updater, tmp_path: Path) -> None:
    for version in (1, 2, 3):
        shop.publish(version)
        updater = open_updater()
        updater.update(offer(version))
    assert {path.name for path in (tmp_path / "phone" / "bundles").iterdir()} == {"2", "3"}
    damaged = tmp_path / "phone" / "bundles" / "3" / TFLITE
    damaged.write_bytes(b"worn out flash")
    fallen_back = open_updater()
    assert fallen_back.version == 2
    assert fallen_back.update(offer(3)).version == 3
    verify_bundle(open_updater().active)


def test_an_older_bundle_is_refused(shop: Shop, open_updater) -> None:
    shop.publish(1)
    shop.publish(2)
    updater = open_updater()
    updater.update(offer(2))
    with pytest.raises(RollbackError, match="bundle 1 is offered, 2 is held"):
        updater.update(offer(1))
    assert updater.version == open_updater().version == 2


def test_rolled_back_metadata_is_refused(shop: Shop, open_updater, tmp_path: Path) -> None:
    shop.publish(1)
    shop.publish(2)
    updater = open_updater()
    updater.update(offer(2))
    shutil.rmtree(shop.repository)
    shutil.copytree(tmp_path / "site-after-1", shop.repository)
    with pytest.raises(RollbackError, match="older than what is held"):
        updater.update(offer(3))
    assert open_updater().version == 2


def test_frozen_metadata_is_refused_once_it_expires(shop: Shop, open_updater) -> None:
    shop.publish(1)
    updater = open_updater()
    updater.update(offer(1))
    shop.publish(2, now=datetime.now(UTC) - timedelta(days=8))  # the timestamp held for seven
    with pytest.raises(SignatureError, match="expired"):
        updater.update(offer(2))
    assert open_updater().version == 1


def test_mixed_and_matched_metadata_is_refused(shop: Shop, open_updater) -> None:
    """The newest timestamp over the snapshot of another moment, and the newest snapshot over other targets."""
    shop.publish(1)
    updater = open_updater()
    updater.update(offer(1))
    shop.publish(2)
    shop.publish(3)
    snapshot, targets = shop.metadata(3, "3.snapshot.json"), shop.metadata(3, "3.targets.json")
    shop.put("3.snapshot.json", shop.metadata(2, "2.snapshot.json"))
    with pytest.raises((IntegrityError, RollbackError)):
        updater.update(offer(3))
    shop.put("3.snapshot.json", snapshot)
    shop.put("3.targets.json", shop.metadata(2, "2.targets.json"))
    with pytest.raises((IntegrityError, RollbackError)):
        updater.update(offer(3))
    assert open_updater().version == 1
    shop.put("3.targets.json", targets)
    assert updater.update(offer(3)).version == 3


def test_metadata_signed_by_others_is_refused(shop: Shop, open_updater, tmp_path: Path) -> None:
    shop.publish(1)
    updater = open_updater()
    updater.update(offer(1))
    forged = tmp_path / "forged"
    publish(shop.bundle(2), forged, tmp_path / "other-keys")
    (forged / "metadata" / "1.root.json").unlink()
    shutil.copytree(forged, shop.repository, dirs_exist_ok=True)
    with pytest.raises((SignatureError, RollbackError)):
        updater.update(offer(2))
    assert open_updater().version == 1


def test_one_flipped_byte_of_a_target_is_refused(shop: Shop, open_updater) -> None:
    shop.publish(1)
    updater = open_updater()
    targets = list((shop.repository / "targets" / "bundles").iterdir())
    original = targets[0].read_bytes()
    for position in range(0, len(original), max(1, len(original) // 15)):
        damaged = bytearray(original)
        damaged[position] ^= 0x10
        targets[0].write_bytes(damaged)
        with pytest.raises(IntegrityError):
            updater.update(offer(1))
    assert updater.version == 0
    targets[0].write_bytes(original)
    assert updater.update(offer(1)).version == 1


def test_a_bundle_that_is_not_published_is_refused(shop: Shop, open_updater) -> None:
    shop.publish(1)
    with pytest.raises(BundleError, match="does not hold it"):
        open_updater().update(offer(9))


def test_a_bundle_whose_goldens_fail_here_is_not_activated(
    shop: Shop, open_updater, write_model_bundle, tmp_path: Path
) -> None:
    models = Shop(tmp_path, lambda directory, version, **options: write_model_bundle(directory, version, **options))
    models.publish(1)
    wrong = (models.bundle(1) / "goldens.json").read_bytes().replace(b'"scores":[', b'"scores":[9')
    models.publish(2, files={"goldens.json": wrong})
    updater = open_updater(check_bundle)
    updater.update(offer(1))
    with pytest.raises(GoldenError):
        updater.update(offer(2))
    assert open_updater(check_bundle).version == 1


def test_without_a_network_nothing_changes(shop: Shop, open_updater, tmp_path: Path) -> None:
    shop.publish(1)
    updater = BundleUpdater(
        tmp_path / "phone", trusted_root(shop.repository), httpx.Client(base_url="http://127.0.0.1:1"), works
    )
    with pytest.raises(httpx.TransportError):
        updater.update(offer(1))
    assert updater.version == 0


@pytest.mark.parametrize("held", [0, 1])
def test_power_lost_at_any_step_of_an_update_leaves_a_working_bundle(
    shop: Shop, open_updater, tmp_path: Path, held: int
) -> None:
    shop.publish(1)
    if held:
        open_updater(name="before").update(offer(1))
    else:
        (tmp_path / "before").mkdir()
    shop.publish(2)
    step, lost, seen = 0, True, set()
    while lost:
        name = f"phone-{step}"
        shutil.copytree(tmp_path / "before", tmp_path / name, symlinks=True)
        updater = open_updater(name=name)
        POWER.folder, POWER.left = str(tmp_path / name), step
        try:
            updater.update(offer(2))
            lost = False
        except PowerLoss:
            pass
        finally:
            POWER.folder = None
        restarted = open_updater(name=name)
        assert restarted.version in (held, 2)
        assert lost or restarted.version == 2
        if restarted.active is not None:
            assert verify_bundle(restarted.active).bundle_version == restarted.version
        seen.add(restarted.version)
        if lost and step % 3 == 0:  # a third of the steps: the same update again
            restarted.update(offer(2))
            assert open_updater(name=name).version == 2
        shutil.rmtree(tmp_path / name)
        step += 1
    assert seen == {held, 2}
    assert step > 15  # metadata, download, each file of the bundle, the two renames, the pointer
