"""Profiles: rows of the history summary and of hourly counts per owner, merged over a person's owners when read.

`contracts.summary` and `contracts.windows` define what is added up and how. Rows are changed inside the transaction
that accepts the events, so a profile is always exactly what the accepted events add up to.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from contracts.codec import decode, encode
from contracts.consent import Consent, Purpose
from contracts.outbox import ProfileChanged
from contracts.summary import EMPTY, Activity, OrderLine, Summary, Weights
from contracts.sync import ProfileDelta
from contracts.windows import as_hour_counts
from sync_server import consents, hour_counts, outbox
from sync_server.bulk import insert_rows, rows_at, rows_beyond, update_rows
from sync_server.people import Owner, families
from sync_server.tables import item_activities, order_lines, owners
from sync_server.turn import Turn

Lines = dict[tuple[int, str, str], OrderLine]
"""By owner, order and item."""


def add(turn: Turn, additions: Mapping[int, Summary], counts: hour_counts.OwnerCounts) -> None:
    """Merge summaries and counts of newly accepted events into the rows of their owners, by owner id."""
    connection, stamp = turn.connection, turn.stamp
    activities = {(owner, item): one for owner, added in additions.items() for item, one in added.items.items()}
    lines: Lines = {
        (owner, order, item): line
        for owner, added in additions.items()
        for order, bought in added.orders.items()
        for item, line in bought.items()
    }
    for row in rows_at(connection, item_activities, ("owner_id", "item_id"), activities):
        activities[row.owner_id, row.item_id] |= _activity(row)
    for row in rows_at(connection, order_lines, ("owner_id", "order_id", "item_id"), lines):
        lines[row.owner_id, row.order_id, row.item_id] |= _line(row)
    changed: list[dict[str, Any]] = [
        {
            "owner_id": owner,
            "item_id": item,
            "weights": encode(activities[owner, item].weights).decode(),
            "last_hour": activities[owner, item].last_hour,
            "event": activities[owner, item].event,
            "stamp": stamp,
        }
        for owner, item in sorted(activities)
    ]
    insert_rows(connection, item_activities, changed, "replace")
    ordered: list[dict[str, Any]] = [
        {"owner_id": owner, "order_id": order, "item_id": item, "stamp": stamp}
        | msgspec.structs.asdict(lines[owner, order, item])
        for owner, order, item in sorted(lines)
    ]
    insert_rows(connection, order_lines, ordered, "replace")
    counted = hour_counts.add(turn, counts)
    touched = sorted(counted.union((owner for owner, *_ in activities), (owner for owner, *_ in lines)))
    update_rows(connection, owners, [{"id": owner, "profile_stamp": stamp} for owner in touched])
    if turn.publishes and touched:
        handles = outbox.persons(connection, touched).values()
        outbox.add(turn, [ProfileChanged(handle=handle, version=stamp, at=turn.now_ms) for handle in handles])


def of_owners(connection: Connection, owner_ids: Collection[int]) -> Summary:
    """The merged summary of some owners."""
    items = connection.execute(select(item_activities).where(item_activities.c.owner_id.in_(owner_ids)))
    lines = connection.execute(select(order_lines).where(order_lines.c.owner_id.in_(owner_ids)))
    return _merged(items, lines)


def version_of(family: Iterable[Owner]) -> int:
    """The largest stamp of anything in the profile of a person, of whom these are all owners."""
    return max(max(member.stamp, member.profile_stamp) for member in family)


def decisions(own: Mapping[Purpose, Consent], allowed: Collection[Purpose]) -> dict[Purpose, Consent]:
    """What an owner is told about consent: the person's decision, and the version of their own to be cited."""
    return {
        purpose: Consent(version=own.get(purpose, Consent()).version, granted=purpose in allowed) for purpose in Purpose
    }


def deltas(connection: Connection, asked: Sequence[tuple[Owner, int, Collection[Owner]]]) -> list[ProfileDelta | None]:
    """What each of some devices must be told of its person's profile, None if nothing.

    The version is the largest stamp of anything in the profile. Where owners were linked or consent was decided since,
    the profile is sent whole; without consent for personalization it is empty, and the decisions alone are sent.

    Args:
        asked: a device's current, proven owner, the version that the device holds, 0 if none, and the owners that it
            named.
    """
    family_of = families(connection, {owner.person_id for owner, *_ in asked})
    news: list[tuple[int, Owner, int, int]] = []  # place, owner, version, base
    for place, (owner, known, _) in enumerate(asked):
        family = family_of[owner.person_id]
        decided, version = max(member.stamp for member in family), version_of(family)
        if known != version:
            news.append((place, owner, version, known if decided <= known <= version else 0))
    allowed = consents.granted(connection, {owner.person_id for _, owner, *_ in news})
    own = consents.of_owners(connection, {owner.id for _, owner, *_ in news})
    told = [
        (
            owner,
            version,
            base if Purpose.PERSONALIZATION in allowed[owner.person_id] else 0,
            family_of[owner.person_id] if Purpose.PERSONALIZATION in allowed[owner.person_id] else [],
        )
        for _, owner, version, base in news
    ]
    since = [([member.id for member in family], base) for *_, base, family in told]
    summaries, counts = _changed_since(connection, since), hour_counts.changed_since(connection, since)
    found: list[ProfileDelta | None] = [None] * len(asked)
    for (place, *_), (owner, version, base, family), summary, counted in zip(
        news, told, summaries, counts, strict=True
    ):
        found[place] = ProfileDelta(
            owner=owner.name or "",
            base_version=base,
            version=version,
            items=dict(summary.items),
            orders=dict(summary.orders),
            hours=as_hour_counts(counted),
            consents=decisions(own[owner.id], allowed[owner.person_id]),
            owners=_named_of(family or [owner], [owner, *asked[place][2]]),
        )
    return found


def _named_of(family: Iterable[Owner], named: Iterable[Owner]) -> tuple[str, ...]:
    """The names among these that belong to a family, in the order in which its owners appeared."""
    names = {owner.id: owner.name for owner in named if owner.name}
    return tuple(names[member.id] for member in family if member.id in names)


def _changed_since(connection: Connection, asked: Sequence[tuple[list[int], int]]) -> list[Summary]:
    """For some persons (their owners' ids, and a stamp) what changed after it, as it is now, merged over the owners.

    An item comes with all owners' activity, and an order comes whole, even where one row of them changed.
    """
    since: dict[int, int] = {}  # persons are asked for once in a while by two devices: the older version decides
    for ids, base in asked:
        for owner_id in ids:
            since[owner_id] = min(base, since.get(owner_id, base))
    items, lines = (
        _by_owner(rows_beyond(connection, table, "stamp", sorted(since.items())))
        for table in (item_activities, order_lines)
    )
    wanted = []
    for ids, base in asked:
        changed_items = {row.item_id for owner in ids for row in items[owner] if row.stamp > base}
        changed_orders = {row.order_id for owner in ids for row in lines[owner] if row.stamp > base}
        wanted.append((changed_items, changed_orders))
    every_item = {
        (owner, item) for (ids, _), (some, _) in zip(asked, wanted, strict=True) for owner in ids for item in some
    }
    every_order = {
        (owner, order) for (ids, _), (_, some) in zip(asked, wanted, strict=True) for owner in ids for order in some
    }
    items = _by_owner(rows_at(connection, item_activities, ("owner_id", "item_id"), sorted(every_item)))
    lines = _by_owner(rows_at(connection, order_lines, ("owner_id", "order_id"), sorted(every_order)))
    return [
        _merged(
            (row for owner in ids for row in items[owner] if row.item_id in some_items),
            (row for owner in ids for row in lines[owner] if row.order_id in some_orders),
        )
        for (ids, _), (some_items, some_orders) in zip(asked, wanted, strict=True)
    ]


def _by_owner(rows: Iterable[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.owner_id].append(row)
    return found


def _merged(items: Iterable[Row], lines: Iterable[Row]) -> Summary:
    """The rows of several owners as one summary."""
    activities: dict[str, Activity] = {}
    for row in items:
        activity = _activity(row)
        activities[row.item_id] = activities[row.item_id] | activity if row.item_id in activities else activity
    orders: dict[str, dict[str, OrderLine]] = defaultdict(dict)
    for row in lines:
        line, order = _line(row), orders[row.order_id]
        order[row.item_id] = order[row.item_id] | line if row.item_id in order else line
    return Summary(items=activities, orders=dict(orders)) if activities or orders else EMPTY


def _activity(row: Row) -> Activity:
    return Activity(decode(row.weights.encode(), Weights), row.last_hour, row.event)


def _line(row: Row) -> OrderLine:
    return OrderLine(row.hour, row.quantity, row.amount, bool(row.refunded))
