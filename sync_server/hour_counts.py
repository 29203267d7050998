"""Stored counts of what owners did in each of the last hours: see `contracts.windows`.

A row is added to where it stands, so that taking events reads nothing first. Hours that every window has left behind
are no longer counted when they are read, and their rows are taken out from time to time.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import Connection, Row, delete, select, tuple_

from contracts.summary import HOUR_MS
from contracts.windows import KEPT_HOURS, HourCounts, is_kept
from sync_server.bulk import insert_rows, rows_at, rows_beyond
from sync_server.store import Store
from sync_server.tables import hour_counts
from sync_server.turn import Turn

PRUNED_TOGETHER = 5_000  # rows of one transaction: some 20 ms, so that no sync waits long

OwnerCounts = Mapping[int, HourCounts]
"""By owner id."""


def add(turn: Turn, additions: OwnerCounts) -> set[int]:
    """Count newly accepted events.

    Returns:
        the owners whose counts changed; events that came too late for every window change nothing.
    """
    now_hour = turn.now_ms // HOUR_MS
    rows = [
        {"owner_id": owner, "hour": hour, "event": event, "events": count, "stamp": turn.stamp}
        for owner in sorted(additions)
        for (hour, event), count in sorted(additions[owner].items())
        if is_kept(hour, now_hour)
    ]
    insert_rows(turn.connection, hour_counts, rows, "replace", added=("events",))
    return {row["owner_id"] for row in rows}


def of_owners(connection: Connection, owner_ids: Collection[int]) -> HourCounts:
    """The counts of some owners, added up."""
    return _added_up(rows_at(connection, hour_counts, ("owner_id",), [(owner,) for owner in sorted(owner_ids)]))


def changed_since(connection: Connection, asked: Sequence[tuple[Sequence[int], int]]) -> list[HourCounts]:
    """For some persons (their owners' ids, and a stamp) the buckets that changed after it, added up over the owners."""
    since: dict[int, int] = {}  # persons are asked for once in a while by two devices: the older version decides
    for ids, base in asked:
        for owner in ids:
            since[owner] = min(base, since.get(owner, base))
    rows = _by_owner(rows_beyond(connection, hour_counts, "stamp", sorted(since.items())))
    changed = [
        {(row.hour, row.event) for owner in ids for row in rows[owner] if row.stamp > base} for ids, base in asked
    ]
    hours = {
        (owner, hour)
        for (ids, _), buckets in zip(asked, changed, strict=True)
        if len(ids) > 1  # of a single owner, the rows that changed are the whole answer
        for owner in ids
        for hour, _ in buckets
    }
    whole = _by_owner(rows_at(connection, hour_counts, ("owner_id", "hour"), sorted(hours)))
    return [
        _added_up(
            row for owner in ids for row in (whole if len(ids) > 1 else rows)[owner] if (row.hour, row.event) in buckets
        )
        for (ids, _), buckets in zip(asked, changed, strict=True)
    ]


def prune(store: Store) -> int:
    """Take out rows that are in no window any more, a few at a time; how many they were.

    Looking for them reads the whole table, outside of any turn.
    """
    key = (hour_counts.c.owner_id, hour_counts.c.hour, hour_counts.c.event)
    total = 0
    while True:
        last = store.now_ms() // HOUR_MS - KEPT_HOURS
        with store.read() as connection:
            expired = select(*key).where(hour_counts.c.hour <= last).limit(PRUNED_TOGETHER)
            rows = [tuple(row) for row in connection.execute(expired)]
        if rows:
            with store.write() as connection:
                connection.execute(delete(hour_counts).where(tuple_(*key).in_(rows)))
        total += len(rows)
        if len(rows) < PRUNED_TOGETHER:
            return total


def _by_owner(rows: Sequence[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.owner_id].append(row)
    return found


def _added_up(rows: Iterable[Row]) -> HourCounts:
    counts: HourCounts = Counter()
    for row in rows:
        counts[row.hour, row.event] += row.events
    return counts
