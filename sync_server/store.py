"""What the server asks of a database."""

from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection

from sync_server.identifiers import IdentifierKeys


class Store(Protocol):
    """A database of the schema in `sync_server.tables`, spoken to in SQLAlchemy Core.

    The server keeps no state beside it. The gateways of federated rounds open the same database from their own
    processes.
    """

    def read(self) -> AbstractContextManager[Connection]:
        """A read-only transaction that sees one moment of the store."""

    def write(self) -> AbstractContextManager[Connection]:
        """A transaction that writes: durable when the block ends, undone if it raises.

        Writers take turns: what a write transaction has read nobody changes before it ends, and stamps are
        committed in their order.
        """

    def alone(self, name: str) -> AbstractContextManager[bool]:
        """Take a name, unless somebody in any process has it: whether it was taken. It is free when the block ends."""

    def now_ms(self) -> int:
        """The server's time, milliseconds since 1970."""

    @property
    def generation(self) -> str:
        """Names this life of the store; a restored backup has a new one."""

    def adopt_generation(self, generation: str) -> None:
        """Go by the generation that `sync_server.recovery` found or gave."""

    @property
    def keys(self) -> IdentifierKeys:
        """Of the identifiers in it; without any, identifiers can be neither looked up nor written."""

    def close(self) -> None: ...
