"""Identifiers at rest: keyed hashes under keys that can be rotated.

What names a human being (a login, a card, an anonymous session) is never written down. The store keeps HMAC-SHA-256 of
`kind:value` (RFC 2104) under a key that lies in the server's settings, not in the store: without it nobody can even try
out all card numbers.

Keys have versions. A look-up tries every live one; what is written goes under the version *in force*, which the store
names, and a row under an older one is rewritten when its identifier is seen. A worker that lacks the version in force
would take known people for new ones, so it refuses to write. Hence a rotation without downtime: add the key to the
settings of every worker and restart them one by one (nothing changes yet), then put it in force (see
`sync_server.identifier_rotation`), and remove the old key once few enough rows are left under it. A hash cannot be
re-keyed without its identifier: who is never seen again stays under the old key, and is forgotten with it.
"""

import hashlib
import hmac
from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, insert, select, update

from contracts.errors import ConfigError
from sync_server import tables

MIN_KEY_BYTES = 32
_FINGERPRINT = b"pocketrec identifier key"
_SEALED = b"pocketrec sealed "  # before bytes that somebody else chose: no seal is an identifier's digest


class IdentifierKeys:
    """The live keys of a server, by version; the newest is the highest."""

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        """
        Args:
            keys: none where identifiers are neither looked up nor written.

        Raises:
            ConfigError: if a key is shorter than `MIN_KEY_BYTES`.
        """
        for version, key in keys.items():
            if len(key) < MIN_KEY_BYTES:
                raise ConfigError(
                    f"identifier key {version} has {len(key)} bytes: use {MIN_KEY_BYTES} from a random source"
                )
        self._keys = dict(sorted(keys.items()))

    def __contains__(self, version: object) -> bool:
        return version in self._keys

    def __iter__(self) -> Iterator[int]:
        """Versions, the oldest first."""
        return iter(self._keys)

    @property
    def newest(self) -> int:
        """0 if there is none."""
        return max(self._keys, default=0)

    def digest(self, version: int, name: str) -> str:
        """HMAC-SHA-256 of an identifier, 64 hexadecimal digits.

        Args:
            version: of a live key.
            name: `kind:value`.
        """
        return hmac.digest(self._keys[version], name.encode(), hashlib.sha256).hex()

    def digests(self, name: str) -> list[str]:
        """Under every live key: whatever the store may have an identifier as."""
        return [self.digest(version, name) for version in self._keys]

    def seal(self, version: int, data: bytes) -> bytes:
        """HMAC-SHA-256 of bytes that may name somebody, 32 bytes: tells them from others, to whoever has the key."""
        return hmac.digest(self._keys[version], _SEALED + data, hashlib.sha256)

    def fingerprint(self, version: int) -> str:
        """Tells a key from another one given under its number, and nothing else about it."""
        return hmac.digest(self._keys[version], _FINGERPRINT, hashlib.sha256).hex()


def adopt(connection: Connection, keys: IdentifierKeys) -> None:
    """Check a server's keys against the store's, and remember those that are new.

    Raises:
        ConfigError: if a key is not the one that the store knows by its version, or the one in force is missing.
    """
    rows = connection.execute(select(tables.identifier_keys))
    known = {row.version: row.fingerprint for row in rows}
    for version in keys:
        if known.get(version, keys.fingerprint(version)) != keys.fingerprint(version):
            raise ConfigError(f"identifier key {version} is not the one that this store knows: give a new key a number")
    fresh = [{"version": version, "fingerprint": keys.fingerprint(version)} for version in keys if version not in known]
    if fresh:
        connection.execute(insert(tables.identifier_keys), fresh)
    if in_force(connection):
        check(keys, in_force(connection))
    else:
        connection.execute(update(tables.store).values(identifier_version=keys.newest))


def check(keys: IdentifierKeys, version: int) -> None:
    """Raises ConfigError where a key is in force that these keys lack."""
    if version and version not in keys:
        raise ConfigError(
            f"identifier key {version} is in force, and identifier_keys has {', '.join(map(str, keys)) or 'none'}: "
            "add it and start again"
        )


def in_force(connection: Connection) -> int:
    """The version under which identifiers are written, 0 in a store that never saw a key."""
    return int(connection.execute(select(tables.store.c.identifier_version)).scalar_one())
