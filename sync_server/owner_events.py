"""Where the events of an owner are.

Events lie by their key, as they come; an index by owner would cost more than the events. Instead each owner has ranges
of numbers among which events of theirs are: one row for all that a device sent of them at once.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, select

from sync_server.bulk import insert_rows
from sync_server.tables import events, owner_events


def note(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Remember where new rows of `events`, sorted by key, are."""
    numbers: dict[tuple[int, str, int], list[int]] = defaultdict(list)
    for row in rows:
        if row["owner_id"] is not None:
            numbers[row["owner_id"], row["device_id"], row["epoch"]].append(row["seq"])
    places = [
        {"owner_id": owner_id, "device_id": device_id, "epoch": epoch, "first": some[0], "last": some[-1]}
        for (owner_id, device_id, epoch), some in sorted(numbers.items())
    ]
    insert_rows(connection, owner_events, places)


def of_owners(connection: Connection, owner_ids: Collection[int]) -> list[Row]:
    """The rows of `events` of some owners, by key."""
    key = (events.c.device_id, events.c.epoch, events.c.seq)
    chosen = select(events).distinct().join_from(owner_events, events, joined()).order_by(*key)
    return list(connection.execute(chosen.where(owner_events.c.owner_id.in_(owner_ids))))


def joined() -> ColumnElement[bool]:
    """What joins `events` to `owner_events`."""
    return (
        (events.c.device_id == owner_events.c.device_id)
        & (events.c.epoch == owner_events.c.epoch)
        & events.c.seq.between(owner_events.c.first, owner_events.c.last)
        & (events.c.owner_id == owner_events.c.owner_id)
    )
