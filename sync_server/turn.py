"""One write transaction, as the code that runs in it sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, update

from sync_server import identifiers, tables
from sync_server.identifiers import IdentifierKeys
from sync_server.store import Store

PUBLISHES = "pocketrec_publishes"
"""The execution option in which a store's connections say whether its outbox has a reader."""


@dataclass(frozen=True)
class Turn:
    """A transaction that writes, whose turn it is.

    Attributes:
        connection: to the store.
        now_ms: the server's time, milliseconds since 1970, one for the whole transaction.
        stamp: the transaction's change number, greater than every committed one.
        keys: of identifiers.
        key_version: the one in force, under which identifiers are written.
    """

    connection: Connection
    now_ms: int
    stamp: int
    keys: IdentifierKeys
    key_version: int

    @property
    def publishes(self) -> bool:
        """Whether a relay reads the outbox: messages that nobody takes away are not written."""
        return bool(self.connection.get_execution_options().get(PUBLISHES))


@contextmanager
def take_turn(store: Store) -> Iterator[Turn]:
    """A write transaction of a store: durable when the block ends, undone if it raises.

    Raises:
        ConfigError: if this process lacks the identifier key that is in force by now.
    """
    numbered = update(tables.store).values(changes=tables.store.c.changes + 1)
    with store.write() as connection:
        stamp, version = connection.execute(
            numbered.returning(tables.store.c.changes, tables.store.c.identifier_version)
        ).one()
        identifiers.check(store.keys, version)
        yield Turn(connection, store.now_ms(), stamp, store.keys, version)
