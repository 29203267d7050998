"""The store on SQLite, or on PostgreSQL where one machine is outgrown.

Writers take turns on both: SQLite has one writer at a time, PostgreSQL an advisory lock that a write transaction holds
to its end. So no two of them deadlock, and stamps are committed in their order. What costs processor time (bodies,
signatures) is done before the turn, and requests that wait for it share one: see `sync_server.group_commit`.
"""

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, func, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError

from contracts.errors import ConfigError
from sync_server import tables
from sync_server.bulk import run_copy
from sync_server.clock import Clock, SystemClock
from sync_server.identifiers import IdentifierKeys, adopt
from sync_server.turn import PUBLISHES

BUSY_TIMEOUT_S = 60  # how long a writer waits for its turn; a sync takes milliseconds
BUSY_PAUSE_S = 0.01
CONNECT_TIMEOUT_S = 10
TURN = 0x706F636B6574  # the advisory lock's number, "pocket"; PostgreSQL keeps those of each database apart
DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}
_READ_ONLY: dict[str, dict[str, Any]] = {
    "sqlite": {"pocketrec_read_only": True},
    "postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True},
}
_TAKE_TURN = select(func.pg_advisory_xact_lock(TURN))
_ADDRESSES = "sqlite:///path/of/file.sqlite or postgresql://user:password@host/database"


class SqlStore:
    """See `sync_server.store.Store`."""

    def __init__(self, engine: Engine, clock: Clock, keys: IdentifierKeys) -> None:
        self._engine = engine
        self._clock = clock
        self._keys = keys
        with self.write() as connection:
            _migrate(connection, keys)
            self._generation = _generation(connection)
            if keys.newest:
                adopt(connection, keys)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(**_READ_ONLY[self._engine.dialect.name]) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(_TAKE_TURN)
            yield connection

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        if self._engine.dialect.name == "sqlite":
            with _locked_file(Path(f"{self._engine.url.database}.{name}")) as mine:
                yield mine
        else:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                try:
                    locked = select(func.pg_try_advisory_lock(func.hashtextextended(name, TURN)))
                    yield bool(connection.execute(locked).scalar_one())
                finally:
                    connection.invalidate()  # the lock ends with its session

    def now_ms(self) -> int:
        return self._clock.now_ms()

    @property
    def generation(self) -> str:
        return self._generation

    def adopt_generation(self, generation: str) -> None:
        self._generation = generation

    @property
    def keys(self) -> IdentifierKeys:
        return self._keys

    def close(self) -> None:
        self._engine.dispose()


def open_store(
    database_url: str, clock: Clock | None = None, keys: IdentifierKeys | None = None, publishes: bool = False
) -> SqlStore:
    """Open a store, creating or migrating its schema.

    Args:
        database_url: SQLAlchemy's, such as `sqlite:////var/lib/pocketrec/sync.sqlite` or
            `postgresql://user:password@host/database`.
        clock: the server's time, by default the machine's.
        keys: of identifiers; whoever neither looks up nor writes any does without.
        publishes: whether a relay reads the outbox; else nothing is written into it.

    Raises:
        ConfigError: if the address is none, nothing that can be opened stands there, or the keys are not the store's.
    """
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise ConfigError(f"database {database_url!r} is no address: use {_ADDRESSES}") from None
    kind = url.get_backend_name()
    if kind not in DRIVERS or not url.database or url.database == ":memory:":
        raise ConfigError(f"database {url.render_as_string()} is not supported: use {_ADDRESSES}")
    waits = {"sqlite": {"timeout": BUSY_TIMEOUT_S}, "postgresql": {"connect_timeout": CONNECT_TIMEOUT_S}}
    engine = create_engine(
        url.set(drivername=DRIVERS[kind]),
        connect_args=waits[kind],
        pool_pre_ping=kind != "sqlite",
        execution_options={PUBLISHES: publishes},
        hide_parameters=True,  # an error that is logged names no person
    )
    if kind == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "do_execute", run_copy)
    try:
        return SqlStore(engine, clock or SystemClock(), keys or IdentifierKeys({}))
    except DatabaseError as error:
        engine.dispose()
        said = " ".join(str(error.orig).split())
        raise ConfigError(
            f"database {url.render_as_string()} cannot be opened ({said}): use {_ADDRESSES} of this server's own"
        ) from None


def without_password(database_url: str) -> str:
    """An address to be shown."""
    return make_url(database_url).render_as_string(hide_password=True)


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not where the driver guesses
    _log_ahead(connection)
    # secure_delete: what is deleted or overwritten is gone from the file, not only from the table.
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _log_ahead(connection: sqlite3.Connection) -> None:
    """Switch a new file to write-ahead logging.

    Of two connections that do so at once, SQLite refuses one without the wait that its timeout grants elsewhere: both
    hold a read lock that each would have to see gone.
    """
    last = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                raise
            time.sleep(BUSY_PAUSE_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("pocketrec_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def _locked_file(path: Path) -> Iterator[bool]:
    """Whether nobody else holds the file's lock."""
    import fcntl  # of POSIX systems only

    with path.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _migrate(connection: Connection, keys: IdentifierKeys) -> None:
    config = Config()
    config.set_main_option("script_location", "sync_server:migrations")
    config.attributes["connection"] = connection
    config.attributes["identifier_keys"] = keys
    command.upgrade(config, "head")


def _generation(connection: Connection) -> str:
    found = connection.execute(select(tables.store.c.generation)).scalar_one_or_none()
    if found is not None:
        return str(found)
    generation = secrets.token_hex(8)
    connection.execute(insert(tables.store).values(id=1, generation=generation, changes=0, identifier_version=0))
    return generation
