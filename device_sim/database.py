"""The one SQLite file in which a device keeps everything that must outlive a crash."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS epochs (epoch INTEGER PRIMARY KEY, next_seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    owner TEXT NOT NULL,
    type TEXT NOT NULL,
    priority INTEGER NOT NULL,           -- position in SEND_ORDER: 0 is sent first and given up last
    settled INTEGER NOT NULL DEFAULT 0,  -- 1: the server's verdict is final
    sends INTEGER NOT NULL DEFAULT 0,    -- requests that carried it
    payload BLOB NOT NULL,
    PRIMARY KEY (epoch, seq)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_by_priority ON events (settled, priority, epoch, seq);
CREATE TABLE IF NOT EXISTS dropped (
    epoch INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    counts BLOB NOT NULL,
    reported INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (epoch, first)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS consent_facts (fact_id TEXT PRIMARY KEY, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS profile_items (item TEXT PRIMARY KEY, activity BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS profile_orders (order_id TEXT PRIMARY KEY, lines BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS profile_hours (
    hour INTEGER NOT NULL, event INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (hour, event)
) WITHOUT ROWID;
"""


class Database:
    """A SQLite file whose committed transactions survive a power loss (WAL, synchronous FULL)."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite3.connect(path, isolation_level=None)  # transactions are begun explicitly
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing; one inside another is part of the outer one."""
        if self.connection.in_transaction:
            yield self.connection
            return
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def get(self, name: str) -> bytes | None:
        """A named value."""
        row = self.connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def put(self, name: str, value: bytes | None) -> None:
        """Set a named value; None forgets it."""
        if value is None:
            self.connection.execute("DELETE FROM state WHERE name = ?", (name,))
        else:
            self.connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))

    def close(self) -> None:
        self.connection.close()
