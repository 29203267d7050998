"""Who did what for or about whom: append-only, and every row vouches for all before it.

A row's hash is SHA-256 over the hash before it and the row's canonical JSON, so whoever changes, inserts or takes out
a row breaks the chain there. What was cut off at its end only somebody can tell who noted the head (`Head`) elsewhere:
`python -m sync_server --settings FILE audit` prints it, and checks it against one noted earlier.

Rows name people by random handles only. Erasure deletes what ties a handle to a human being; the chain still holds.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from contracts.codec import encode
from contracts.errors import CheckFailed, ConfigError
from sync_server.bulk import insert_rows
from sync_server.store import Store
from sync_server.tables import audit_log
from sync_server.turn import Turn

ROWS_AT_ONCE = 1000  # that `verify` holds in memory


@dataclass(frozen=True)
class Entry:
    """What is noted of one act.

    Attributes:
        actor: who acted: `staff NAME`, `device ID` or `operator`; never an identifier of a person.
        action: a verb, such as `erase`.
        handle: of the person or owner it was about, empty where it was about nobody.
        detail: JSON that helps to understand it later, without identifiers or what a person did.
    """

    actor: str
    action: str
    handle: str
    detail: Any = None


@dataclass(frozen=True)
class Head:
    """The last row, which vouches for all others; written `number:hash` with the hash in hexadecimal."""

    number: int  # rows so far
    hash: bytes  # 32 bytes

    def __str__(self) -> str:
        return f"{self.number}:{self.hash.hex()}"


EMPTY = Head(0, bytes(32))


def record(turn: Turn, actor: str, action: str, handle: str, detail: Any = None) -> None:
    """Append one entry in the transaction that does what it says; see `Entry`."""
    record_all(turn, [Entry(actor, action, handle, detail)])


def record_all(turn: Turn, entries: Sequence[Entry]) -> None:
    """Append entries in their order: two statements for any number of them, none for none."""
    if not entries:
        return
    head = _head(turn.connection)
    rows = []
    for entry in entries:
        row = {
            "number": head.number + 1,
            "at": turn.now_ms,
            "actor": entry.actor,
            "action": entry.action,
            "handle": entry.handle,
            "detail": encode(entry.detail).decode(),
        }
        head = Head(head.number + 1, _chained(head.hash, row))
        rows.append(row | {"hash": head.hash})
    insert_rows(turn.connection, audit_log, rows)


def verify(store: Store, noted: Head | None = None) -> Head:
    """Check the whole chain.

    Args:
        store: whose log.
        noted: a head that was printed earlier and kept elsewhere.

    Returns:
        the head, to be noted.

    Raises:
        CheckFailed: if the chain is broken, naming the first row that is not as it was written, or if it does not
            lead over the noted head.
    """
    head, met = EMPTY, noted in (None, EMPTY)
    with store.read() as connection:
        rows = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(
            select(audit_log).order_by(audit_log.c.number)
        )
        for row in rows:
            if row.number != head.number + 1:
                raise CheckFailed(f"audit row {head.number + 1} is missing: compare the log with a backup")
            head = Head(row.number, _chained(head.hash, _written(row)))
            if row.hash != head.hash:
                raise CheckFailed(f"audit row {row.number} is not as it was written: compare the log with a backup")
            met = met or head == noted
    if not met:
        raise CheckFailed(
            f"the audit log's {head.number} rows do not lead over the noted head {noted}: they were replaced or cut off"
        )
    return head


def entries_about(connection: Connection, handles: Collection[str]) -> list[dict[str, Any]]:
    """What was noted about some people, oldest first."""
    chosen = select(audit_log).where(audit_log.c.handle.in_(sorted(handles))).order_by(audit_log.c.number)
    return [_written(row) for row in connection.execute(chosen)]


def read_head(text: str) -> Head:
    """A head as it was printed.

    Raises:
        ConfigError: if the text is none.
    """
    number, _, digest = text.partition(":")
    try:
        head = Head(int(number), bytes.fromhex(digest))
    except ValueError:
        head = Head(-1, b"")
    if head.number < 0 or len(head.hash) != len(EMPTY.hash):
        raise ConfigError(f"{text!r} is no head of an audit log: give number:hash as `audit` printed it")
    return head


def _head(connection: Connection) -> Head:
    last = select(audit_log.c.number, audit_log.c.hash).order_by(audit_log.c.number.desc()).limit(1)
    row = connection.execute(last).one_or_none()
    return EMPTY if row is None else Head(row.number, row.hash)


def _chained(previous: bytes, row: dict[str, Any]) -> bytes:
    return hashlib.sha256(previous + encode(row)).digest()


def _written(row: Row) -> dict[str, Any]:
    """A row without its hash."""
    return {column: value for column, value in row._mapping.items() if column != "hash"}
