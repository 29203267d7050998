"""Poison without a readable key: nothing can be done with it, and that it came is remembered for a while.

A row holds no part of what came, only a keyed hash by which the same poison is counted once: see
`sync_server.received`. What has a readable key is with the events: its number is used for ever.
"""

from sqlalchemy import delete, select, tuple_

from sync_server.store import Store
from sync_server.tables import quarantine

DAY_MS = 86_400_000
PRUNED_TOGETHER = 5_000  # rows of one transaction: some 20 ms, so that no sync waits long


def prune(store: Store, kept_days: int) -> int:
    """Take out what came longer ago, a few rows at a time; how many they were."""
    key = (quarantine.c.device_id, quarantine.c.payload_hash)
    total = 0
    while True:
        last = store.now_ms() - kept_days * DAY_MS
        with store.read() as connection:
            expired = select(*key).where(quarantine.c.received_at <= last).limit(PRUNED_TOGETHER)
            rows = [tuple(row) for row in connection.execute(expired)]
        if rows:
            with store.write() as connection:
                connection.execute(delete(quarantine).where(tuple_(*key).in_(rows)))
        total += len(rows)
        if len(rows) < PRUNED_TOGETHER:
            return total
