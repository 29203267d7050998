"""Profiles: rows of the history summary per owner, merged over a person's owners when read.

`contracts.summary` defines what is added up and how. A row is read, merged and written back inside the transaction
that accepts the events, so a profile is always exactly what the accepted events add up to.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, func, select

from contracts.codec import decode, encode
from contracts.consent import Consent, Purpose
from contracts.summary import EMPTY, Activity, OrderLine, Summary, Weights, merge
from contracts.sync import ProfileDelta
from sync_server import consents
from sync_server.people import Owner, family
from sync_server.sql_store import upsert
from sync_server.tables import consents as consents_table
from sync_server.tables import item_activities, order_lines


def add(connection: Connection, additions: Mapping[int, Summary], stamp: int) -> None:
    """Merge summaries of newly accepted events into the rows of their owners, by owner id."""
    activities: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    for owner_id, added in sorted(additions.items()):
        held = _read(
            connection,
            (item_activities.c.owner_id == owner_id) & item_activities.c.item_id.in_(sorted(added.items)),
            (order_lines.c.owner_id == owner_id) & order_lines.c.order_id.in_(sorted(added.orders)),
        )
        merged = merge(held, added)
        for item in sorted(added.items):
            activity = merged.items[item]
            key = {"owner_id": owner_id, "item_id": item, "stamp": stamp}
            values = {
                "weights": encode(activity.weights).decode(),
                "last_hour": activity.last_hour,
                "event": activity.event,
            }
            activities.append(key | values)
        for order, item in sorted((order, item) for order, bought in added.orders.items() for item in bought):
            key = {"owner_id": owner_id, "order_id": order, "item_id": item, "stamp": stamp}
            lines.append(key | msgspec.structs.asdict(merged.orders[order][item]))
    upsert(connection, item_activities, activities)
    upsert(connection, order_lines, lines)


def of_owners(connection: Connection, owner_ids: Collection[int], since: int = 0) -> Summary:
    """The merged summary of some owners; with `since` of what changed after that stamp, as it is now.

    An order comes whole even where one of its lines changed.
    """
    mine, ordered = item_activities.c.owner_id.in_(owner_ids), order_lines.c.owner_id.in_(owner_ids)
    items = select(item_activities.c.item_id).where(mine, item_activities.c.stamp > since)
    orders = select(order_lines.c.order_id).where(ordered, order_lines.c.stamp > since)
    return _read(connection, mine & item_activities.c.item_id.in_(items), ordered & order_lines.c.order_id.in_(orders))


def delta(connection: Connection, owner: Owner, known: int) -> ProfileDelta | None:
    """What a device that holds version `known` of a person's profile must be told, None if nothing.

    The version is the largest stamp of anything in the profile. Where owners were linked or consent was decided since,
    the profile is sent whole; without consent for personalization it is empty, and the decisions alone are sent.

    Args:
        owner: the device's current, proven owner.
        known: 0 if the device holds none.
    """
    linked = family(connection, owner.person_id)
    ids = [member.id for member in linked]
    decided = _largest_stamp(connection, consents_table, ids)
    facts = max(decided, *(member.stamp for member in linked))
    rows = max(_largest_stamp(connection, table, ids) for table in (item_activities, order_lines))
    version = max(facts, rows)
    if known == version:
        return None
    allowed = consents.granted(connection, [owner.person_id])[owner.person_id]
    own = consents.of_owner(connection, owner.id)
    personal = Purpose.PERSONALIZATION in allowed
    whole = not personal or not facts <= known <= version
    base = 0 if whole else known
    summary = of_owners(connection, ids, base) if personal else EMPTY
    return ProfileDelta(
        owner=owner.name,
        base_version=base,
        version=version,
        items=dict(summary.items),
        orders=dict(summary.orders),
        consents={
            purpose: Consent(version=own[purpose].version if purpose in own else 0, granted=purpose in allowed)
            for purpose in Purpose
        },
        owners=tuple(member.name for member in linked) if personal else (owner.name,),
    )


def _read(connection: Connection, items: ColumnElement[bool], orders: ColumnElement[bool]) -> Summary:
    """The rows that two conditions choose, those of several owners merged."""
    activities: dict[str, Activity] = {}
    for row in connection.execute(select(item_activities).where(items)):
        activity = Activity(decode(row.weights.encode(), Weights), row.last_hour, row.event)
        activities[row.item_id] = activities[row.item_id] | activity if row.item_id in activities else activity
    lines: dict[str, dict[str, OrderLine]] = defaultdict(dict)
    for row in connection.execute(select(order_lines).where(orders)):
        line, order = OrderLine(row.hour, row.quantity, row.amount, row.refunded), lines[row.order_id]
        order[row.item_id] = order[row.item_id] | line if row.item_id in order else line
    return Summary(items=activities, orders=dict(lines))


def _largest_stamp(connection: Connection, table: Table, owner_ids: Collection[int]) -> int:
    largest = select(func.max(table.c.stamp)).where(table.c.owner_id.in_(owner_ids))
    return connection.execute(largest).scalar() or 0
