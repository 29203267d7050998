"""Profiles: rows of the history summary and of hourly counts per owner, merged over a person's owners when read.

`contracts.summary` and `contracts.windows` define what is added up and how. Rows are changed inside the transaction
that accepts the events, so a profile is always exactly what the accepted events add up to.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import itemgetter
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Row, select

from contracts.codec import decode, encode
from contracts.consent import Consent, Purpose
from contracts.outbox import ProfileChanged
from contracts.summary import EMPTY, Activity, OrderLine, Summary, Weights, merge
from contracts.sync import ProfileDelta
from contracts.windows import as_hour_counts
from sync_server import hour_counts, outbox
from sync_server.bulk import insert_rows, rows_at, rows_beyond, update_rows
from sync_server.people import Owner
from sync_server.tables import item_activities, order_lines, owners
from sync_server.turn import Turn

T = TypeVar("T")
_key = itemgetter(0)  # rows are sorted by their keys alone

Added = Mapping[int, Summary]
"""What a transaction changed of owners, by id, as it stands now: items, and whole orders."""


def add(turn: Turn, additions: Mapping[int, Summary], counts: hour_counts.OwnerCounts) -> Added:
    """Merge summaries and counts of newly accepted events into the rows of their owners, by owner id."""
    connection, stamp = turn.connection, turn.stamp
    items = {(owner, item): one for owner, added in additions.items() for item, one in added.items.items()}
    lines = {
        (owner, order, item): line
        for owner, added in additions.items()
        for order, bought in added.orders.items()
        for item, line in bought.items()
    }
    before: dict[tuple[int, str], dict[str, OrderLine]] = {(owner, order): {} for owner, order, _ in lines}
    for row in rows_at(connection, item_activities, ("owner_id", "item_id"), items):
        items[row.owner_id, row.item_id] |= _activity(row)
    for row in rows_at(connection, order_lines, ("owner_id", "order_id"), before):
        before[row.owner_id, row.order_id][row.item_id] = line = _line(row)
        if (key := (row.owner_id, row.order_id, row.item_id)) in lines:
            lines[key] |= line
    changed: list[dict[str, Any]] = [
        {
            "owner_id": owner,
            "item_id": item,
            "weights": encode(one.weights).decode(),
            "last_hour": one.last_hour,
            "event": one.event,
            "stamp": stamp,
        }
        for (owner, item), one in sorted(items.items(), key=_key)
    ]
    insert_rows(connection, item_activities, changed, "replace")
    ordered: list[dict[str, Any]] = [
        {"owner_id": owner, "order_id": order, "item_id": item, "stamp": stamp} | msgspec.structs.asdict(line)
        for (owner, order, item), line in sorted(lines.items(), key=_key)
    ]
    insert_rows(connection, order_lines, ordered, "replace")
    counted = hour_counts.add(turn, counts)
    held = _Held()
    for (owner, item), one in items.items():
        held.items[owner][item] = one
    for (owner, order), bought in before.items():
        held.orders[owner][order] = bought
    for (owner, order, item), line in lines.items():
        held.orders[owner][order][item] = line
    touched = sorted(counted.union(held.items, held.orders))
    update_rows(connection, owners, [{"id": owner, "profile_stamp": stamp} for owner in touched])
    if turn.publishes and touched:
        handles = outbox.persons(connection, touched).values()
        outbox.add(turn, [ProfileChanged(handle=handle, version=stamp, at=turn.now_ms) for handle in handles])
    return {owner: held.of(owner) for owner in touched}


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


@dataclass(frozen=True)
class Asked:
    """A device that may be told a profile.

    Attributes:
        owner: who uses it, proven.
        base: the version that it holds, 0 if none.
        named: the owners that it named.
        family: all owners of its person, as they were before the transaction added to their profiles.
        allowed: what this person allows.
        own: the owner's own decisions.
    """

    owner: Owner
    base: int
    named: Collection[Owner]
    family: Sequence[Owner]
    allowed: Collection[Purpose]
    own: Mapping[Purpose, Consent]


def deltas(turn: Turn, asked: Sequence[Asked], added: Added) -> list[ProfileDelta | None]:
    """What each of some devices must be told of its person's profile, None if nothing.

    The version is the largest stamp of anything in the profile. Where owners were linked or consent was decided since,
    the profile is sent whole; without consent for personalization it is empty, and the decisions alone are sent.

    Args:
        turn: the transaction.
        asked: the devices.
        added: what the transaction added to profiles.
    """
    news: list[tuple[int, int]] = []  # place, version
    since: list[tuple[Sequence[Owner], int]] = []  # those of the person whose profile is told, and since when
    for place, one in enumerate(asked):
        decided, version = max(member.stamp for member in one.family), version_of(one.family)
        if any(member.id in added for member in one.family):
            version = turn.stamp
        if one.base != version:
            told = Purpose.PERSONALIZATION in one.allowed
            news.append((place, version))
            since.append(
                (one.family if told else [], one.base if told and decided <= one.base <= version else 0),
            )
    summaries = _changed_since(turn.connection, since, added)
    counts = hour_counts.changed_since(
        turn.connection, [([member.id for member in family], base) for family, base in since]
    )
    found: list[ProfileDelta | None] = [None] * len(asked)
    for (place, version), (family, base), summary, counted in zip(news, since, summaries, counts, strict=True):
        one = asked[place]
        found[place] = ProfileDelta(
            owner=one.owner.name or "",
            base_version=base,
            version=version,
            items=dict(summary.items),
            orders=dict(summary.orders),
            hours=as_hour_counts(counted),
            consents=decisions(one.own, one.allowed),
            owners=_named_of(family or [one.owner], [one.owner, *one.named]),
        )
    return found


def _named_of(family: Iterable[Owner], named: Iterable[Owner]) -> tuple[str, ...]:
    """The names among these that belong to a family, in the order in which its owners appeared."""
    names = {owner.id: owner.name for owner in named if owner.name}
    return tuple(names[member.id] for member in family if member.id in names)


@dataclass(frozen=True)
class _Held:
    """Rows of owners that are known, by owner id."""

    items: dict[int, dict[str, Activity]] = field(default_factory=lambda: defaultdict(dict))
    orders: dict[int, dict[str, dict[str, OrderLine]]] = field(default_factory=lambda: defaultdict(dict))  # whole

    def of(self, owner: int) -> Summary:
        return Summary(items=self.items.get(owner, {}), orders=self.orders.get(owner, {}))


def _changed_since(connection: Connection, asked: Sequence[tuple[Sequence[Owner], int]], added: Added) -> list[Summary]:
    """For some persons (their owners, and a stamp) what changed after it, as it is now, merged over the owners.

    An item comes with all owners' activity, and an order comes whole, even where one row of them changed. What the
    transaction itself added is known; rows are read of owners who had changed since that stamp before it, and of a
    person's further owners.
    """
    since: dict[int, int] = {}  # persons are asked for once in a while by two devices: the older version decides
    for family, base in asked:
        for member in family:
            if member.profile_stamp > base:
                since[member.id] = min(base, since.get(member.id, base))
    items, lines = (
        _by_owner(rows_beyond(connection, table, "stamp", sorted(since.items())))
        for table in (item_activities, order_lines)
    )
    held = _Held()
    for owner, rows in items.items():
        held.items[owner] = {row.item_id: _activity(row) for row in rows}
    for owner, summary in added.items():
        held.items[owner].update(summary.items)
        held.orders[owner].update(summary.orders)
    wanted: list[tuple[set[str], set[str]]] = []
    for family, base in asked:
        some_items, some_orders = set[str](), set[str]()
        for member in family:
            known = added.get(member.id, EMPTY)
            some_items.update(known.items, (row.item_id for row in items[member.id] if row.stamp > base))
            some_orders.update(known.orders, (row.order_id for row in lines[member.id] if row.stamp > base))
        wanted.append((some_items, some_orders))
    unread_items, unread_orders = set[tuple[int, str]](), set[tuple[int, str]]()
    for (family, _), (some_items, some_orders) in zip(asked, wanted, strict=True):
        for member in family:
            unread_items.update((member.id, item) for item in some_items - held.items[member.id].keys())
            unread_orders.update((member.id, order) for order in some_orders - held.orders[member.id].keys())
    for row in rows_at(connection, item_activities, ("owner_id", "item_id"), sorted(unread_items)):
        held.items[row.owner_id][row.item_id] = _activity(row)
    for row in rows_at(connection, order_lines, ("owner_id", "order_id"), sorted(unread_orders)):
        held.orders[row.owner_id].setdefault(row.order_id, {})[row.item_id] = _line(row)
    return [
        reduce(
            merge,
            (
                Summary(
                    items=_chosen(held.items[member.id], some_items),
                    orders=_chosen(held.orders[member.id], some_orders),
                )
                for member in family
            ),
            EMPTY,
        )
        for (family, _), (some_items, some_orders) in zip(asked, wanted, strict=True)
    ]


def _chosen(held: Mapping[str, T], keys: Collection[str]) -> dict[str, T]:
    return {key: value for key, value in held.items() if key in keys}


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
