"""A publication is signed, whole or absent, newer than the last, and offers patches that lead to the same tar."""

import hashlib
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from tuf.api.metadata import Metadata, Targets
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType

from contracts.bundle import BundleTarget
from contracts.errors import BundleError, ConfigError, IntegrityError, RollbackError, SignatureError
from export.archive import decompress, pack
from export.patch import apply_patch
from export.repository import Lifetimes, bundle_path, patch_path, publish, refresh, trusted_root

NOISE = hashlib.shake_256(b"weights").digest(100_000)


@pytest.fixture
def bundle_of(tmp_path: Path, write_bundle):
    def bundle(version: int, weights: bytes = NOISE) -> Path:
        directory = tmp_path / f"bundle-{version}"
        write_bundle(directory, version, {"model.tflite": weights + bytes([version])})
        return directory

    return bundle


def trusted_targets(repository: Path) -> Targets:
    """What a client that starts from the first root trusts, through the reference implementation's own checks."""
    metadata = repository / "metadata"
    trusted = TrustedMetadataSet(trusted_root(repository), EnvelopeType.METADATA)
    version = 2
    while (metadata / f"{version}.root.json").exists():
        trusted.update_root((metadata / f"{version}.root.json").read_bytes())
        version += 1
    timestamp = trusted.update_timestamp((metadata / "timestamp.json").read_bytes())
    snapshot = trusted.update_snapshot((metadata / f"{timestamp.snapshot_meta.version}.snapshot.json").read_bytes())
    targets_version = snapshot.meta["targets.json"].version
    return trusted.update_targets((metadata / f"{targets_version}.targets.json").read_bytes())


def content(repository: Path, path: str) -> tuple[bytes, BundleTarget]:
    target = trusted_targets(repository).targets[path]
    data = (repository / "targets" / target.get_prefixed_paths()[0]).read_bytes()
    target.verify_length_and_hashes(data)
    return data, msgspec.convert(target.custom, BundleTarget)


def test_a_client_reads_the_bundle_and_its_patches(bundle_of, tmp_path: Path) -> None:
    repository, keys = tmp_path / "repository", tmp_path / "keys"
    first = publish(bundle_of(1), repository, keys)
    assert first.patch_bytes is None
    second = publish(bundle_of(2), repository, keys)
    data, whole = content(repository, bundle_path(2))
    assert len(data) == second.bytes
    tar = decompress(data, whole.unpacked_bytes)
    assert tar == pack(bundle_of(2))
    patch, target = content(repository, patch_path(1, 2))
    assert second.patch_bytes == len(patch) < second.bytes / 10
    assert (target.kind, target.version, target.base_version) == ("patch", 2, 1)
    base = content(repository, bundle_path(1))[1]
    assert tar == apply_patch(
        pack(bundle_of(1)),
        patch,
        base_sha256=base.unpacked_sha256,
        result_sha256=target.unpacked_sha256,
        result_bytes=target.unpacked_bytes,
    )


def test_patches_come_from_the_last_bundles_only(bundle_of, tmp_path: Path) -> None:
    repository, keys = tmp_path / "repository", tmp_path / "keys"
    for version in range(1, 6):
        publish(bundle_of(version), repository, keys, patch_bases=2)
    assert set(trusted_targets(repository).targets) == {
        *(bundle_path(version) for version in (3, 4, 5)),
        *(patch_path(base, 5) for base in (3, 4)),
    }


@pytest.mark.parametrize("version", [1, 2])
def test_a_bundle_that_is_not_newer_is_refused_and_changes_nothing(bundle_of, tmp_path: Path, version: int) -> None:
    repository, keys = tmp_path / "repository", tmp_path / "keys"
    publish(bundle_of(2), repository, keys)
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    with pytest.raises(RollbackError, match="version 2 is published"):
        publish(bundle_of(version), repository, keys)
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before


def test_a_damaged_bundle_is_refused(bundle_of, tmp_path: Path) -> None:
    (bundle_of(1) / "report.html").write_bytes(b"?")
    with pytest.raises(IntegrityError, match=r"report\.html"):
        publish(tmp_path / "bundle-1", tmp_path / "repository", tmp_path / "keys")
    assert not (tmp_path / "repository").exists()


def test_no_private_key_leaves_its_folder(bundle_of, tmp_path: Path) -> None:
    publish(bundle_of(1), tmp_path / "repository", tmp_path / "keys")
    secrets = [path.read_bytes().splitlines()[1] for path in (tmp_path / "keys").glob("*.pem")]
    assert len(set(secrets)) == 4
    published = b"".join(path.read_bytes() for path in (tmp_path / "repository").rglob("*") if path.is_file())
    assert not any(secret in published for secret in secrets)


def test_other_keys_cannot_publish_here(bundle_of, tmp_path: Path) -> None:
    publish(bundle_of(1), tmp_path / "repository", tmp_path / "keys")
    with pytest.raises(SignatureError, match="other keys"):
        publish(bundle_of(2), tmp_path / "repository", tmp_path / "other-keys")
    publish(bundle_of(1), tmp_path / "elsewhere", tmp_path / "other-keys")
    shutil.copy(tmp_path / "other-keys" / "timestamp.pem", tmp_path / "keys" / "timestamp.pem")
    with pytest.raises(SignatureError, match="not signed by the repository's keys"):
        publish(bundle_of(2), tmp_path / "repository", tmp_path / "keys")
    assert bundle_path(2) not in trusted_targets(tmp_path / "repository").targets


def test_metadata_changed_on_the_web_server_is_not_signed_again(bundle_of, tmp_path: Path) -> None:
    publish(bundle_of(1), tmp_path / "repository", tmp_path / "keys")
    path = tmp_path / "repository" / "metadata" / "1.targets.json"
    changed = path.read_bytes().replace(b'"length":', b'"length":1')
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    with pytest.raises(SignatureError, match=r"1\.targets\.json"):
        publish(bundle_of(2), tmp_path / "repository", tmp_path / "keys")


def test_refresh_needs_the_online_keys_only(bundle_of, tmp_path: Path) -> None:
    repository, keys = tmp_path / "repository", tmp_path / "keys"
    with pytest.raises(BundleError, match="publish one first"):
        refresh(repository, keys)
    long_ago = datetime.now(UTC) - timedelta(days=60)
    publish(bundle_of(1), repository, keys, now=long_ago)
    assert Metadata.from_file(str(repository / "metadata" / "timestamp.json")).signed.is_expired()
    for offline in ("root", "targets"):
        (keys / f"{offline}.pem").unlink()
    refresh(repository, keys)
    assert bundle_path(1) in trusted_targets(repository).targets
    with pytest.raises(ConfigError, match=r"targets\.pem is missing"):
        publish(bundle_of(2), repository, keys)
    assert not (keys / "targets.pem").exists()  # a key kept elsewhere is not replaced by a new one


def test_the_root_is_renewed_before_it_expires(bundle_of, tmp_path: Path) -> None:
    repository, keys = tmp_path / "repository", tmp_path / "keys"
    publish(bundle_of(1), repository, keys, lifetimes=Lifetimes(root=timedelta(days=400)))
    publish(bundle_of(2), repository, keys, lifetimes=Lifetimes(root=timedelta(days=400)))
    assert not (repository / "metadata" / "2.root.json").exists()
    publish(bundle_of(3), repository, keys, lifetimes=Lifetimes(root=timedelta(days=1000)))
    assert bundle_path(3) in trusted_targets(repository).targets  # through both roots
    assert (repository / "metadata" / "2.root.json").exists()


class PowerLoss(BaseException):
    pass


class Power:
    """Fails every change of a file below a folder from the n-th on, as seen by the interpreter's own audit events."""

    CHANGES = frozenset({"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.truncate"})

    def __init__(self) -> None:
        self.folder: str | None = None
        self.left = 0
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.folder is None or not (
            event in self.CHANGES or (event == "open" and arguments[2] & 0o3)  # opened for writing
        ):
            return
        if str(arguments[0]).startswith(self.folder):
            if self.left <= 0:
                raise PowerLoss(event)
            self.left -= 1


POWER = Power()


def test_power_lost_at_any_step_leaves_the_old_state_and_the_next_publication_works(bundle_of, tmp_path: Path) -> None:
    base, keys = tmp_path / "base", tmp_path / "keys"
    publish(bundle_of(1), base, keys)
    bundle_of(2)
    bundle_of(3)
    step, lost = 0, True
    while lost:
        repository = tmp_path / f"repository-{step}"
        shutil.copytree(base, repository)
        POWER.folder, POWER.left = str(repository), step
        try:
            publish(tmp_path / "bundle-2", repository, keys)
            lost = False
        except PowerLoss:
            pass
        finally:
            POWER.folder = None
        newest = 1 if lost else 2
        assert bundle_path(newest) in trusted_targets(repository).targets
        assert (bundle_path(2) in trusted_targets(repository).targets) == (newest == 2)
        if lost:
            publish(tmp_path / "bundle-2", repository, keys)
            assert content(repository, patch_path(1, 2))
        step += 1
    assert step > 8  # two targets and three metadata files, each created and renamed
