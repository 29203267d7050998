"""Which bundle is the newest, read from the TUF repository that the server hands out.

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
    custom: BundleTarget | None = None


class _Signed(msgspec.Struct):
    """Of snapshot, timestamp or targets metadata, what is needed here."""

    meta: dict[str, _Version] = {}
    targets: dict[str, _Target] = {}


class _Metadata(msgspec.Struct):
    signed: _Signed


def newest_bundle(repository: Path) -> int:
    """The newest bundle version in a TUF repository with consistent snapshots, 0 where none is published.

    A damaged repository is logged and offers nothing: it must not keep events from being taken.
    """
    metadata = repository / "metadata"
    try:
        return _newest(metadata, (metadata / "timestamp.json").read_bytes())
    except FileNotFoundError:
        return 0
    except (OSError, KeyError, msgspec.DecodeError) as error:
        _log.error("the TUF repository %s cannot be read: %s", repository, error)
        return 0


@lru_cache(maxsize=4)
def _newest(metadata: Path, timestamp: bytes) -> int:
    """Every publication writes a new timestamp and never changes what it names: its bytes are the cache's key."""
    snapshot = _version(timestamp, "snapshot.json")
    targets = _version((metadata / f"{snapshot}.snapshot.json").read_bytes(), "targets.json")
    listed = _signed((metadata / f"{targets}.targets.json").read_bytes()).targets.values()
    return max((one.custom.version for one in listed if one.custom and one.custom.kind == "bundle"), default=0)


def _version(metadata: bytes, name: str) -> int:
    return _signed(metadata).meta[name].version


def _signed(metadata: bytes) -> _Signed:
    return msgspec.json.decode(metadata, type=_Metadata).signed
