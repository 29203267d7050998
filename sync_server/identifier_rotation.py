"""Another identifier key comes into force while the server runs; names are written again under it as they are seen."""

from sqlalchemy import Table, func, select, update

from sync_server import tables
from sync_server.store import Store


def activate(store: Store) -> int:
    """Put the newest key in force, from the next transaction of any worker on; returns its version.

    Every worker must know the key by now: one that does not answers 500 until it is started again with it.
    """
    with store.write() as connection:
        connection.execute(update(tables.store).values(identifier_version=store.keys.newest))
    return store.keys.newest


def holdings(store: Store) -> dict[int, int]:
    """How many identifiers are at rest under each key version."""
    return _by_version(store, tables.owners)


def erased(store: Store) -> dict[int, int]:
    """How many erased identifiers are known under each key version: without the key, nobody knows that they were."""
    return _by_version(store, tables.tombstones)


def _by_version(store: Store, table: Table) -> dict[int, int]:
    counted = select(table.c.key_version, func.count()).group_by(table.c.key_version)
    with store.read() as connection:
        return {row[0]: row[1] for row in connection.execute(counted.order_by(table.c.key_version))}
