"""Which bundles are published, read from the TUF repository that the server hands out.

The server only advertises a number; whether it is true the phone learns from the signed metadata, which it fetches
and verifies by itself.
"""

import logging
from functools import lru_cache
from pathlib import Path

import msgspec

from contracts.bundle import BundleTarget

_log = logging.getLogger(__name__)


class _Version(msgspec.Struct):
    version: int


class _Target(msgspec.Struct):
    length: int = 0
    hashes: dict[str, str] = {}
    custom: BundleTarget | None = None


class _Signed(msgspec.Struct):
    """Of snapshot, timestamp or targets metadata, what is needed here."""

    meta: dict[str, _Version] = {}
    targets: dict[str, _Target] = {}


class _Metadata(msgspec.Struct):
    signed: _Signed


class PublishedBundle(msgspec.Struct, frozen=True, kw_only=True):
    """A whole bundle as the repository's targets describe it."""

    path: str  # below the repository's folder
    bytes: int
    sha256: str
    target: BundleTarget

    @property
    def version(self) -> int:
        return self.target.version


def newest_bundle(repository: Path) -> int:
    """The newest bundle version in a TUF repository with consistent snapshots, 0 where none is published."""
    return max((one.version for one in published_bundles(repository)), default=0)


def published_bundles(repository: Path) -> tuple[PublishedBundle, ...]:
    """All bundles that the repository offers, the newest first.

    A damaged repository is logged and offers nothing: it must not keep events from being taken.
    """
    metadata = repository / "metadata"
    try:
        return _published(metadata, (metadata / "timestamp.json").read_bytes())
    except FileNotFoundError:
        return ()
    except (OSError, KeyError, msgspec.DecodeError) as error:
        _log.error("the TUF repository %s cannot be read: %s", repository, error)
        return ()


@lru_cache(maxsize=4)
def _published(metadata: Path, timestamp: bytes) -> tuple[PublishedBundle, ...]:
    """Every publication writes a new timestamp and never changes what it names: its bytes are the cache's key."""
    snapshot = _version(timestamp, "snapshot.json")
    targets = _version((metadata / f"{snapshot}.snapshot.json").read_bytes(), "targets.json")
    listed = _signed((metadata / f"{targets}.targets.json").read_bytes()).targets
    found = (
        _bundle(name, one, one.custom) for name, one in listed.items() if one.custom and one.custom.kind == "bundle"
    )
    return tuple(sorted(found, key=lambda one: one.version, reverse=True))


def _bundle(name: str, target: _Target, custom: BundleTarget) -> PublishedBundle:
    """A target's file has its hash in its name: `bundles/3.tar.zst` is `targets/bundles/<sha256>.3.tar.zst`."""
    folder, _, file = name.rpartition("/")
    sha256 = target.hashes.get("sha256", "")
    return PublishedBundle(
        path=f"targets/{folder}/{sha256}.{file}",
        bytes=target.length,
        sha256=sha256,
        target=custom,
    )


def _version(metadata: bytes, name: str) -> int:
    return _signed(metadata).meta[name].version


def _signed(metadata: bytes) -> _Signed:
    return msgspec.json.decode(metadata, type=_Metadata).signed
