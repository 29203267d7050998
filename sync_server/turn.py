"""One write transaction, as the code that runs in it sees it."""

from dataclasses import dataclass

from sqlalchemy import Connection

PUBLISHES = "pocketrec_publishes"
"""The execution option in which a store's connections say whether its outbox has a reader."""


@dataclass(frozen=True)
class Turn:
    """A transaction that writes, whose turn it is.

    Attributes:
        connection: to the store.
        now_ms: the server's time, milliseconds since 1970, one for the whole transaction.
        stamp: the transaction's change number.
    """

    connection: Connection
    now_ms: int
    stamp: int

    @property
    def publishes(self) -> bool:
        """Whether a relay reads the outbox: messages that nobody takes away are not written."""
        return bool(self.connection.get_execution_options().get(PUBLISHES))
