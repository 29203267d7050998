"""The TUF repository that phones fetch bundles from: signed metadata over whole bundles and patches between them.

Layout, served as it is over HTTP, with consistent snapshots (the version or hash is part of a file's name):

    metadata/<n>.root.json  metadata/<n>.targets.json  metadata/<n>.snapshot.json  metadata/timestamp.json
    targets/bundles/<sha256>.<version>.tar.zst          targets/patches/<sha256>.<base>-<version>.zst

A publication writes new files beside the old ones and replaces `timestamp.json` last, in one rename: a reader sees
the state before or the state after. What no metadata names any more stays on the disk for phones in mid-update.

Source: The Update Framework specification 1.0.33, sections 4 to 6; python-tuf's Metadata API.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from contracts.bundle import BundleTarget
from contracts.errors import BundleError, RollbackError, SignatureError
from export.archive import compress, decompress, pack
from export.durable import write_durably
from export.keys import ROLES, ROOT_PUBLIC_KEY, create_keys, load_public_key, signer_of
from export.patch import make_patch
from export.verify import verify_bundle

PATCH_BASES = 3  # how many earlier bundles a phone may hold and still be given a patch


class Lifetimes(msgspec.Struct, frozen=True, kw_only=True):
    """How long each role's signature holds: what bounds how long a phone can be kept on old metadata."""

    root: timedelta = timedelta(days=365)
    targets: timedelta = timedelta(days=90)
    snapshot: timedelta = timedelta(days=30)
    timestamp: timedelta = timedelta(days=7)


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What one publication added."""

    version: int
    bytes: int  # of the whole bundle, compressed
    patch_bytes: int | None  # of the patch from the bundle before; None: there is none or it would be no smaller


def bundle_path(version: int) -> str:
    """Target path of a whole bundle."""
    return f"bundles/{version}.tar.zst"


def patch_path(base_version: int, version: int) -> str:
    """Target path of the patch between two bundles."""
    return f"patches/{base_version}-{version}.zst"


def publish(
    bundle_dir: Path,
    repository_dir: Path,
    keys_dir: Path,
    *,
    lifetimes: Lifetimes | None = None,
    now: datetime | None = None,
    patch_bases: int = PATCH_BASES,
) -> Published:
    """Add a bundle to the repository, with patches from the latest bundles where these are smaller.

    Makes the repository and the keys where they are missing. The previous `patch_bases` bundles stay targets, because a
    phone checks the base of a patch against them.

    Raises:
        BundleError: if the directory is no valid bundle.
        RollbackError: if the bundle is not newer than the newest published one.
        SignatureError: if the repository's metadata is not signed by these keys.
        ConfigError: if a key is unusable.
    """
    manifest = verify_bundle(bundle_dir)
    create_keys(keys_dir)
    with one_writer(repository_dir):
        state = _State(repository_dir, keys_dir, lifetimes or Lifetimes(), now or datetime.now(UTC))
        held = state.bundles()
        newest = max(held, default=0)
        if manifest.bundle_version <= newest:
            raise RollbackError(
                f"bundle has version {manifest.bundle_version}, version {newest} is published: build one that is newer"
            )
        version, tar = manifest.bundle_version, pack(bundle_dir)
        whole = compress(tar)
        target = BundleTarget(
            kind="bundle",
            version=version,
            unpacked_sha256=hashlib.sha256(tar).hexdigest(),
            unpacked_bytes=len(tar),
        )
        bases = sorted(held)[-patch_bases:] if patch_bases else []
        added = {bundle_path(version): (whole, target)}
        for base in bases:
            base_tar = decompress(state.read_target(held[base]), _custom(held[base]).unpacked_bytes)
            patch = make_patch(base_tar, tar, smaller_than=len(whole))
            if patch is not None:
                added[patch_path(base, version)] = (
                    patch,
                    msgspec.structs.replace(target, kind="patch", base_version=base),
                )
        state.replace_targets({held[base].path: held[base] for base in bases}, added)
    latest_patch = added.get(patch_path(newest, version))
    return Published(version=version, bytes=len(whole), patch_bytes=len(latest_patch[0]) if latest_patch else None)


def refresh(
    repository_dir: Path, keys_dir: Path, *, lifetimes: Lifetimes | None = None, now: datetime | None = None
) -> None:
    """Sign the present state anew with the online keys alone, so that phones go on trusting it.

    Raises:
        BundleError: if nothing was published here yet.
        SignatureError: if the repository's metadata is not signed by these keys.
        ConfigError: if a key is unusable.
    """
    if not (repository_dir / "metadata" / "timestamp.json").exists():
        raise BundleError(f"{repository_dir} holds no published bundle: publish one first")
    with one_writer(repository_dir):
        _State(repository_dir, keys_dir, lifetimes or Lifetimes(), now or datetime.now(UTC)).announce()


def trusted_root(repository_dir: Path) -> bytes:
    """The root metadata that is shipped with the app: the first one; phones find later ones themselves.

    Raises:
        BundleError: if nothing was published here yet.
    """
    try:
        return (repository_dir / "metadata" / "1.root.json").read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{repository_dir} holds no TUF root: publish a bundle first") from None


@contextmanager
def one_writer(repository_dir: Path) -> Iterator[None]:
    """Wait until nobody else writes into the repository."""
    repository_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(repository_dir, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # and with it the lock


class _State:
    """The repository's current metadata, verified with the keys at hand, and the writing of the next."""

    def __init__(self, repository_dir: Path, keys_dir: Path, lifetimes: Lifetimes, now: datetime):
        self.metadata_dir = repository_dir / "metadata"
        self.targets_dir = repository_dir / "targets"
        self.keys_dir = keys_dir
        self.lifetimes = lifetimes
        self.now = now.astimezone(UTC).replace(microsecond=0)
        self.root: Metadata[Root] = self._load_or_create_root()
        self.timestamp: Metadata[Timestamp] = Metadata(Timestamp())
        self.snapshot: Metadata[Snapshot] = Metadata(Snapshot())
        self.targets: Metadata[Targets] = Metadata(Targets())
        if (self.metadata_dir / "timestamp.json").exists():
            self.timestamp = self._load("timestamp.json", Timestamp.type)
            snapshot_version = self.timestamp.signed.snapshot_meta.version
            self.snapshot = self._load(f"{snapshot_version}.snapshot.json", Snapshot.type)
            targets_version = self.snapshot.signed.meta["targets.json"].version
            self.targets = self._load(f"{targets_version}.targets.json", Targets.type)

    def bundles(self) -> dict[int, TargetFile]:
        """The published whole bundles by version."""
        files = [(_custom(file), file) for file in self.targets.signed.targets.values()]
        return {custom.version: file for custom, file in files if custom.kind == "bundle"}

    def read_target(self, target: TargetFile) -> bytes:
        data = (self.targets_dir / target.get_prefixed_paths()[0]).read_bytes()
        target.verify_length_and_hashes(data)
        return data

    def replace_targets(self, kept: dict[str, TargetFile], added: dict[str, tuple[bytes, BundleTarget]]) -> None:
        """Write new target files, then the metadata that names them, the timestamp last."""
        targets = dict(kept)
        for path, (data, custom) in added.items():
            target = TargetFile.from_data(path, data, ["sha256"])
            target.unrecognized_fields["custom"] = msgspec.to_builtins(custom)
            write_durably(self.targets_dir / target.get_prefixed_paths()[0], data)
            targets[path] = target
        self.targets.signed.targets = targets
        self._renew_root()
        data = self._sign(self.targets, Targets.type, self.lifetimes.targets)
        self.snapshot.signed.meta["targets.json"] = MetaFile.from_data(self.targets.signed.version, data, ["sha256"])
        self.announce()

    def announce(self) -> None:
        """Sign a new snapshot and a new timestamp over what is there."""
        data = self._sign(self.snapshot, Snapshot.type, self.lifetimes.snapshot)
        version = self.snapshot.signed.version
        self.timestamp.signed.snapshot_meta = MetaFile.from_data(version, data, ["sha256"])
        self._sign(self.timestamp, Timestamp.type, self.lifetimes.timestamp)

    def _load_or_create_root(self) -> Metadata[Root]:
        versions = [int(path.name.partition(".")[0]) for path in self.metadata_dir.glob("*.root.json")]
        if versions:
            return self._load(f"{max(versions)}.root.json", Root.type)
        root: Metadata[Root] = Metadata(Root(consistent_snapshot=True))
        for role in ROLES:
            root.signed.add_key(signer_of(self.keys_dir, role).public_key, role)
        self._sign(root, Root.type, self.lifetimes.root)
        return root

    def _renew_root(self) -> None:
        """Sign a root of the same keys anew in the second half of its life, while phones still trust the old one."""
        if self.root.signed.expires - self.now < self.lifetimes.root / 2:
            self._sign(self.root, Root.type, self.lifetimes.root)

    def _sign(self, metadata: Metadata, role: str, lifetime: timedelta) -> bytes:
        """Sign and write the next version of a role's metadata."""
        metadata.signed.version += 1 if metadata.signatures else 0  # what was never signed is version 1
        metadata.signed.expires = self.now + lifetime
        metadata.sign(signer_of(self.keys_dir, role))
        name = f"{role}.json" if role == Timestamp.type else f"{metadata.signed.version}.{role}.json"
        self._check(metadata, role, name)
        data = metadata.to_bytes()
        write_durably(self.metadata_dir / name, data)
        return data

    def _load(self, name: str, role: str) -> Metadata:
        """Read metadata, which lies where the web server can reach it, and trust it only as far as it is signed."""
        try:
            metadata: Metadata = Metadata.from_bytes((self.metadata_dir / name).read_bytes())
        except (DeserializationError, FileNotFoundError) as error:
            raise SignatureError(f"{name} of the repository cannot be read: {error}") from None
        self._check(metadata, role, name)
        return metadata

    def _check(self, metadata: Metadata, role: str, name: str) -> None:
        """Metadata must be signed by the keys that the root gives its role, and the root by the key at hand."""
        root = metadata.signed if role == Root.type else self.root.signed
        try:
            root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except RepositoryError as error:
            raise SignatureError(f"{name} is not signed by the repository's keys: {error}") from None
        own = load_public_key(self.keys_dir / ROOT_PUBLIC_KEY).hex()
        if [root.keys[keyid].keyval["public"] for keyid in root.roles[Root.type].keyids] != [own]:
            raise SignatureError(f"{name} belongs to other keys: give the repository's own keys folder")


def _custom(target: TargetFile) -> BundleTarget:
    return msgspec.convert(target.custom, BundleTarget)
