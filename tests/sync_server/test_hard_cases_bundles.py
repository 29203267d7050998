"""The tenth hard case that a sync server and its phones must survive: whatever is offered, a bundle that works is used.

The phone syncs with the store meanwhile, which has to take its events whatever lies in the repository. Further attacks
on an update by itself: `tests/device_sim/test_updater.py`.
"""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from contracts.errors import IntegrityError, RollbackError, SignatureError
from contracts.sync import BundleOffer, VerdictKind
from device_sim.updater import BundleUpdater
from export.inference.recommender import check_bundle
from export.repository import publish, refresh, trusted_root
from export.verify import verify_bundle
from tests.power_loss import POWER, PowerLoss


class Shop:
    """Publishes bundles into the server's repository; a phone syncs with the server and updates from there."""

    def __init__(self, world, folder, write) -> None:
        self.world, self.folder, self._write = world, folder, write
        self.repository = Path(world.settings.repository)
        self.device = world.phone()
        self.device.log_in("login:ada")
        self.publish(1)
        self.updater = self.open_phone()
        self.sync()
        assert self.updater.version == 1

    def publish(self, version: int, now: datetime | None = None) -> None:
        directory = self._write(self.folder / f"bundle-{version}", version)
        publish(directory, self.repository, self.folder / "keys", now=now)
        shutil.copytree(self.repository, self.folder / f"after-{version}")

    def open_phone(self, name: str = "phone") -> BundleUpdater:
        """The phone's bundles as a start finds them: the one in use answers its goldens."""
        http = httpx.Client(base_url="http://shop", transport=httpx.MockTransport(self._file))
        return BundleUpdater(self.folder / name, trusted_root(self.folder / "after-1"), http, check_bundle)

    def sync(self, lies: int | None = None) -> None:
        """Sync, and update to the bundle that is offered; `lies` is offered by a server that lies.

        Raises:
            BundleError: if the phone refuses what it is offered.
        """
        answer = self.device.sync(self.device.event(), bundle_version=self.updater.version)
        assert [verdict.kind for verdict in answer.verdicts] == [VerdictKind.ACCEPTED]
        offer = BundleOffer(version=lies, repository="/repository") if lies else answer.bundle
        if offer is not None:
            self.updater.update(offer)

    def assert_works(self, version: int) -> None:
        """The phone holds this bundle, also after a restart, and it answers its goldens."""
        assert self.updater.version == self.open_phone().version == version

    def metadata(self, version: int, name: str) -> bytes:
        return (self.folder / f"after-{version}" / "metadata" / name).read_bytes()

    def put(self, name: str, data: bytes) -> None:
        (self.repository / "metadata" / name).write_bytes(data)

    def _file(self, request: httpx.Request) -> httpx.Response:
        path = self.repository / request.url.path.removeprefix("/repository/")
        return httpx.Response(200, content=path.read_bytes()) if path.is_file() else httpx.Response(404)


@pytest.fixture
def shop(world, tmp_path, write_model_bundle) -> Shop:
    return Shop(world, tmp_path, write_model_bundle)


class TestHardCase10:
    """Rollback, freeze or mix-and-match metadata, a patch against the wrong base, power lost in mid-activation: the old
    bundle keeps working."""

    def test_a_rollback(self, shop: Shop) -> None:
        shop.publish(2)
        shop.sync()
        shop.assert_works(2)
        shutil.rmtree(shop.repository)
        shutil.copytree(shop.folder / "after-1", shop.repository)
        shop.sync()  # nothing is offered that is not newer
        with pytest.raises(RollbackError, match="bundle 1 is offered, 2 is held"):
            shop.sync(lies=1)
        with pytest.raises(RollbackError, match="older than what is held"):
            shop.sync(lies=3)
        shop.assert_works(2)

    def test_a_freeze(self, shop: Shop) -> None:
        shop.publish(2, now=datetime.now(UTC) - timedelta(days=8))  # its timestamp held for seven
        with pytest.raises(SignatureError, match="expired"):
            shop.sync()
        shop.assert_works(1)
        refresh(shop.repository, shop.folder / "keys")
        shop.sync()
        shop.assert_works(2)

    def test_metadata_mixed_and_matched(self, shop: Shop) -> None:
        shop.publish(2)
        shop.publish(3)
        for name, other in (("3.snapshot.json", "2.snapshot.json"), ("3.targets.json", "2.targets.json")):
            shop.put(name, shop.metadata(2, other))
            with pytest.raises((IntegrityError, RollbackError)):
                shop.sync(lies=3)
            shop.assert_works(1)
            shop.put(name, shop.metadata(3, name))
        shop.put("timestamp.json", b"{")  # the server offers nothing, and takes events
        shop.sync()
        shop.assert_works(1)
        shop.put("timestamp.json", shop.metadata(3, "timestamp.json"))
        refresh(shop.repository, shop.folder / "keys")
        shop.sync()
        shop.assert_works(3)

    def test_a_patch_against_the_wrong_base(self, shop: Shop) -> None:
        other = shop._write(shop.folder / "another build", 1, {"report.html": b"of another build"})
        shutil.rmtree(shop.folder / "phone" / "bundles" / "1")
        shutil.copytree(other, shop.folder / "phone" / "bundles" / "1")
        shop.updater = shop.open_phone()
        shop.publish(2)
        (patch,) = (shop.repository / "targets" / "patches").iterdir()
        assert patch.name.endswith(".1-2.zst")
        shop.sync()
        shop.assert_works(2)
        assert verify_bundle(shop.updater.active) == verify_bundle(shop.folder / "bundle-2")

    def test_power_lost_in_mid_activation(self, shop: Shop) -> None:
        shop.publish(2)
        shutil.copytree(shop.folder / "phone", shop.folder / "before", symlinks=True)
        seen, step, lost = [], 0, True
        while lost:
            shutil.rmtree(shop.folder / "phone")
            shutil.copytree(shop.folder / "before", shop.folder / "phone", symlinks=True)
            shop.updater = shop.open_phone()
            POWER.folder, POWER.left, lost = str(shop.folder / "phone"), step, False
            try:
                shop.updater.update(BundleOffer(version=2, repository="/repository"))
            except PowerLoss:
                lost = True
            finally:
                POWER.folder = None
            shop.updater = shop.open_phone()
            seen.append(shop.updater.version)
            step += 1
        assert seen == sorted(seen)  # the old bundle up to one step, the new one from there on
        assert set(seen) == {1, 2}
        assert step > 15
        shop.sync()
        shop.assert_works(2)
