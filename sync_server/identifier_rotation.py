"""Another identifier key comes into force while the server runs; names are written again under it as they are seen."""

from sqlalchemy import func, select, update

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
    counted = select(tables.owners.c.key_version, func.count()).group_by(tables.owners.c.key_version)
    with store.read() as connection:
        rows = connection.execute(counted.order_by(tables.owners.c.key_version))
        return {row[0]: row[1] for row in rows}
