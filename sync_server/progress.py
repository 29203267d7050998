"""Which sequence numbers of a device are settled, kept as few ranges rather than looked up among all events."""

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select

from contracts.codec import encode
from contracts.errors import WireError
from contracts.sync import Dropped, SeqRange
from sync_server.intervals import Range, union
from sync_server.sql_store import insert_missing
from sync_server.tables import dropped_ranges, settled_ranges


def settle(connection: Connection, device_id: str, epoch: int, newly: Iterable[Range]) -> list[Range]:
    """Add ranges to those settled, and return them all as `intervals.union` does."""
    mine = (settled_ranges.c.device_id == device_id, settled_ranges.c.epoch == epoch)
    rows = connection.execute(select(settled_ranges.c.first, settled_ranges.c.last).where(*mine))
    before = {(row.first, row.last) for row in rows}
    after = union([*before, *newly])
    gone, come = before.difference(after), [range_ for range_ in after if range_ not in before]
    if gone:
        starts = sorted(first for first, _ in gone)
        connection.execute(delete(settled_ranges).where(*mine, settled_ranges.c.first.in_(starts)))
    if come:
        rows_ = [{"device_id": device_id, "epoch": epoch, "first": first, "last": last} for first, last in come]
        connection.execute(insert(settled_ranges), rows_)
    return after


def note_dropped(connection: Connection, device_id: str, epoch: int, dropped: Iterable[Dropped], now_ms: int) -> None:
    """Keep what a device said it had to give up."""
    rows = [
        {
            "device_id": device_id,
            "epoch": epoch,
            "first": one.range.first,
            "last": one.range.last,
            "counts": encode(one.counts).decode(),
            "received_at": now_ms,
        }
        for one in dropped
    ]
    insert_missing(connection, dropped_ranges, rows)


def checked(ranges: Iterable[SeqRange]) -> list[Range]:
    """Ranges of a request as pairs.

    Raises:
        WireError: if a range ends before it starts.
    """
    pairs = [(one.first, one.last) for one in ranges]
    for first, last in pairs:
        if last < first:
            raise WireError(f"range [{first}, {last}] ends before it starts: send [first, last], both inclusive")
    return pairs
