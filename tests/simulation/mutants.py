"""Faults put into the shipped code from outside, in the simulating process only: each must turn the simulation red."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, func, select

from contracts.events import EventKey
from sync_server import outbox, sql_store, sync, tables
from sync_server.people import Owner
from sync_server.received import Received
from sync_server.sql_store import SqlStore


def epoch_left_out_of_the_key() -> None:
    """An event's identity is its device and number only."""
    read = sync.read_event

    def without_epoch(*arguments: Any) -> Received:
        one = read(*arguments)
        return replace(one, key=EventKey(one.key.device_id, 1, one.key.seq)) if one.key else one

    sync.read_event = without_epoch


def verdict_before_commit() -> None:
    """A transaction is committed when the next one begins: what was told in between was not durable yet."""
    told: list[AbstractContextManager[Connection]] = []
    write, read, close = SqlStore.write, SqlStore.read, SqlStore.close

    def commit() -> None:
        while told:
            told.pop().__exit__(None, None, None)

    @contextmanager
    def early(store: SqlStore) -> Iterator[Connection]:
        commit()
        transaction = write(store)
        connection = transaction.__enter__()
        try:
            yield connection
        except BaseException:
            if not transaction.__exit__(*sys.exc_info()):
                raise
        told.append(transaction)

    def after_commit(wrapped: Callable) -> Callable:
        def wrapper(store: SqlStore) -> Any:
            commit()
            return wrapped(store)

        return wrapper

    SqlStore.write, SqlStore.read, SqlStore.close = early, after_commit(read), after_commit(close)


def commits_not_synced() -> None:
    """SQLite hands its log to the operating system, which writes it when it likes."""
    prepare = sql_store._prepare_sqlite

    def unsynced(connection: Any, record: object) -> None:
        prepare(connection, record)
        connection.execute("PRAGMA synchronous=NORMAL")

    sql_store._prepare_sqlite = unsynced


def outbox_skipping_late_commits() -> None:
    """The relay marks all that is there, also what was committed while it was publishing."""
    mark = outbox.mark_published

    def all_published(connection: Connection, through: int) -> None:
        mark(connection, connection.execute(select(func.max(tables.outbox.c.id))).scalar_one())

    outbox.mark_published = all_published


def tombstone_skipped() -> None:
    """What was made before an erasure is taken again, whoever sends it and whatever its number."""
    Owner.bars = lambda *_: False


MUTANTS: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (
        epoch_left_out_of_the_key,
        verdict_before_commit,
        tombstone_skipped,
        outbox_skipping_late_commits,
        commits_not_synced,
    )
}
