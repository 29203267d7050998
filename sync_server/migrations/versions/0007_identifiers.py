"""Identifiers at rest become keyed hashes; payloads and reasons lose the owner's name.

Whoever opens a store with owners in it hands over the keys (`identifier_keys` of the server's settings). SQLite
overwrites what it replaces (`secure_delete`); on PostgreSQL old rows lie in the table's files until VACUUM FULL.
"""

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import context, op

from contracts.errors import ConfigError
from sync_server.identifiers import IdentifierKeys

revision = "0007"
down_revision = "0006"

PAGE = 5_000  # rows at once
NO_OWNER = "the owner is not kind:value with kind one of login, card, anonymous"
OLD_REASON = "owner % is not kind:value with kind one of %"


def upgrade() -> None:
    op.create_table(
        "identifier_keys",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    op.add_column("store", sa.Column("identifier_version", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("owners", sa.Column("kind", sa.String(length=16), nullable=False, server_default=""))
    op.add_column("owners", sa.Column("key_version", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("owners", sa.Column("handle", sa.String(length=32), nullable=False, server_default=""))
    owners = _hash_owners()
    op.execute("ALTER TABLE owners RENAME COLUMN owner TO digest")
    op.create_index("owners_handle", "owners", ["handle"], unique=True)
    _strip_events(owners)
    for table in ("events", "quarantine"):
        op.execute(f"UPDATE {table} SET reason = '{NO_OWNER}' WHERE reason LIKE '{OLD_REASON}'")


def _hash_owners() -> dict[str, int]:
    """Put every name under the newest key, and return the ids by name."""
    connection, keys = op.get_bind(), context.config.attributes.get("identifier_keys", IdentifierKeys({}))
    rows = connection.exec_driver_sql("SELECT id, owner FROM owners").all()
    if rows and not keys.newest:
        raise ConfigError(
            "the store holds names that are to be hashed: open it with the server's identifier_keys first"
        )
    for owner_id, name in rows:
        values = {
            "id": owner_id,
            "kind": name.partition(":")[0],
            "version": keys.newest,
            "digest": keys.digest(keys.newest, name),
            "handle": secrets.token_hex(16),
        }
        connection.execute(
            sa.text(
                "UPDATE owners SET kind = :kind, key_version = :version, owner = :digest, handle = :handle "
                "WHERE id = :id"
            ),
            values,
        )
    return {name: owner_id for owner_id, name in rows}


def _strip_events(owners: dict[str, int]) -> None:
    connection = op.get_bind()
    change = sa.text(
        "UPDATE events SET payload = :payload, payload_hash = :payload_hash, owner_id = :owner_id "
        "WHERE device_id = :device_id AND epoch = :epoch AND seq = :seq"
    )
    for page in _pages(connection):
        connection.execute(change, [_stripped(row, owners) for row in page])


def _pages(connection: sa.Connection) -> Iterator[Sequence[Any]]:
    """Events with a payload, by key."""
    last: dict[str, Any] = {"device_id": "", "epoch": -1, "seq": -1}
    query = sa.text(
        "SELECT device_id, epoch, seq, verdict, owner_id, payload FROM events WHERE payload IS NOT NULL "
        f"AND (device_id, epoch, seq) > (:device_id, :epoch, :seq) ORDER BY device_id, epoch, seq LIMIT {PAGE}"
    )
    while page := connection.execute(query, last).all():
        yield page
        last = {name: getattr(page[-1], name) for name in last}


def _stripped(row: Any, owners: dict[str, int]) -> dict[str, Any]:
    """An event's row as the server would write it today; what cannot be read may name somebody, and goes."""
    key = {"device_id": row.device_id, "epoch": row.epoch, "seq": row.seq}
    sent = bytes(row.payload)
    for decode in (msgspec.json.decode, msgspec.msgpack.decode):
        try:
            fields = decode(sent)
            owner = fields.pop("owner", None)
            # Accepted events keep the order of their fields, in which they were hashed.
            payload = msgspec.json.encode(fields, order=None if row.verdict == "accepted" else "deterministic")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError, TypeError, ValueError):
            continue
        owner_id = row.owner_id if row.owner_id is not None else owners.get(str(owner))
        return key | {"payload": payload, "payload_hash": _sha256(payload), "owner_id": owner_id}
    return key | {"payload": None, "payload_hash": _sha256(sent), "owner_id": row.owner_id}


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
