"""The store on SQLite."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Table, create_engine, event, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError

from contracts.errors import ConfigError
from sync_server import tables
from sync_server.clock import Clock, SystemClock

BUSY_TIMEOUT_S = 60  # how long a writer waits for its turn; a sync takes milliseconds
_READ_ONLY = {"pocketrec_read_only": True}
_INSERT = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class SqlStore:
    """See `sync_server.store.Store`."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        with self.write() as connection:
            _migrate(connection)
            self._generation = _generation(connection)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(**_READ_ONLY) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection

    def now_ms(self) -> int:
        return self._clock.now_ms()

    @property
    def generation(self) -> str:
        return self._generation

    def close(self) -> None:
        self._engine.dispose()


def open_store(database_url: str, clock: Clock | None = None) -> SqlStore:
    """Open a store, creating or migrating its schema.

    Args:
        database_url: SQLAlchemy's, such as `sqlite:////var/lib/pocketrec/sync.sqlite`.
        clock: the server's time, by default the machine's.

    Raises:
        ConfigError: if the address is none, or not of a SQLite file that can be opened.
    """
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise ConfigError(f"database {database_url!r} is no address: use sqlite:///path/of/file.sqlite") from None
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise ConfigError(f"database {url.render_as_string()} is not supported: use sqlite:///path/of/file.sqlite")
    engine = create_engine(url.set(drivername="sqlite+pysqlite"), connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    try:
        return SqlStore(engine, clock or SystemClock())
    except DatabaseError as error:
        engine.dispose()
        raise ConfigError(
            f"database {url.database} cannot be opened ({error.orig}): use a file of this server"
        ) from None


def next_stamp(connection: Connection) -> int:
    """The change number of this transaction's changes, greater than every committed one."""
    changed = update(tables.store).values(changes=tables.store.c.changes + 1).returning(tables.store.c.changes)
    return int(connection.execute(changed).scalar_one())


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; where the primary key is taken, replace the other columns."""
    if not rows:
        return
    statement = _insert(connection, table)
    replaced = {name: statement.excluded[name] for name in rows[0] if name not in table.primary_key.columns}
    keys = list(table.primary_key.columns)
    action = (
        statement.on_conflict_do_update(index_elements=keys, set_=replaced)
        if replaced
        else statement.on_conflict_do_nothing(index_elements=keys)
    )
    connection.execute(action, rows)


def insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; where a key is taken, leave what is there."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(), rows)


def _insert(connection: Connection, table: Table) -> Any:
    """An INSERT with the dialect's ON CONFLICT, which SQLAlchemy types once per dialect."""
    return _INSERT[connection.dialect.name](table)


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not where the driver guesses
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("pocketrec_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", "sync_server:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _generation(connection: Connection) -> str:
    found = connection.execute(select(tables.store.c.generation)).scalar_one_or_none()
    if found is not None:
        return str(found)
    generation = secrets.token_hex(8)
    connection.execute(insert(tables.store).values(id=1, generation=generation, changes=0))
    return generation
