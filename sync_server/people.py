"""Owners, the proofs that a device may speak for them, and the links that make several owners one person.

Links are facts and are kept; the person of an owner is what they add up to: the smallest owner id among all that are
linked, directly or over others.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, Row, insert, select, update

from contracts.identity import DeviceRole, IdentityClaims, OwnerKind, owner_kind
from sync_server.devices import Device
from sync_server.sql_store import insert_missing
from sync_server.tables import links, owners, proofs


@dataclass(frozen=True)
class Owner:
    id: int
    name: str
    person_id: int
    stamp: int  # when it appeared or was linked


def find(connection: Connection, names: Collection[str]) -> dict[str, Owner]:
    """The owners that are known, by name."""
    if not names:
        return {}
    rows = connection.execute(select(owners).where(owners.c.owner.in_(sorted(names))))
    return {row.owner: _owner(row) for row in rows}


def ensure(connection: Connection, names: Collection[str], stamp: int) -> dict[str, Owner]:
    """The owners of these names; those unknown so far are each a person of their own."""
    known = find(connection, names)
    created = sorted(set(names) - known.keys())
    if not created:
        return known
    connection.execute(insert(owners), [{"owner": name, "person_id": 0, "stamp": stamp} for name in created])
    fresh = owners.c.owner.in_(created)
    connection.execute(update(owners).where(fresh).values(person_id=owners.c.id))
    return known | find(connection, created)


def family(connection: Connection, person_id: int) -> list[Owner]:
    """All owners of a person, in the order they appeared."""
    rows = connection.execute(select(owners).where(owners.c.person_id == person_id).order_by(owners.c.id))
    return [_owner(row) for row in rows]


def prove(connection: Connection, device: Device, claims: Iterable[IdentityClaims], stamp: int, now_ms: int) -> None:
    """Note that tokens were seen from a device: it may speak for the owners they name, who are one person."""
    for claim in claims:
        named = ensure(connection, {claim.sub, *claim.also}, stamp)
        rows = [{"owner_id": owner.id, "device_id": device.device_id, "proven_at": now_ms} for owner in named.values()]
        insert_missing(connection, proofs, rows)
        for other in claim.also:
            if other != claim.sub:
                _link(connection, device, named[claim.sub], named[other], stamp, now_ms)


def _link(connection: Connection, device: Device, one: Owner, other: Owner, stamp: int, now_ms: int) -> None:
    first, second = sorted((one.id, other.id))
    link = {"first_id": first, "second_id": second, "device_id": device.device_id, "linked_at": now_ms}
    insert_missing(connection, links, [link])
    rows = connection.execute(select(owners.c.person_id).where(owners.c.id.in_((first, second))))
    people = set(rows.scalars())  # read again: an earlier link of the same token may have moved either
    if len(people) > 1:
        joined = owners.c.person_id.in_(people)
        connection.execute(update(owners).where(joined).values(person_id=min(people), stamp=stamp))


def speaks_for(
    connection: Connection, device: Device, names: Collection[str], stamp: int, now_ms: int
) -> dict[str, Owner | str]:
    """For each name the owner, if the device may write as this owner, else the reason why not.

    A phone speaks for owners proven by a token that it has shown; a till for every card it reads. An anonymous session
    belongs to the device that speaks for it first.

    Raises:
        WireError: if a name is no `kind:value`.
    """
    kinds = {name: owner_kind(name) for name in names}
    known = find(connection, names)
    devices_of: dict[int, set[str]] = {owner.id: set() for owner in known.values()}
    rows = connection.execute(select(proofs).where(proofs.c.owner_id.in_(sorted(devices_of))))
    for row in rows:
        devices_of[row.owner_id].add(row.device_id)

    answers: dict[str, Owner | str] = {}
    allowed: set[str] = set()
    claimed: set[str] = set()
    for name, kind in kinds.items():
        proven = devices_of[known[name].id] if name in known else set()
        if device.device_id in proven or (kind is OwnerKind.CARD and device.role is DeviceRole.TILL):
            allowed.add(name)
        elif kind is OwnerKind.ANONYMOUS and not proven:
            claimed.add(name)
        elif kind is OwnerKind.ANONYMOUS:
            answers[name] = "this anonymous session belongs to another device"
        elif device.role is DeviceRole.TILL:
            answers[name] = f"a till speaks for cards and anonymous sessions, not for a {kind}"
        else:
            answers[name] = f"this {kind} is not proven on this device: send its identity token first"
    found = ensure(connection, allowed | claimed, stamp)
    mine = [{"owner_id": found[name].id, "device_id": device.device_id, "proven_at": now_ms} for name in claimed]
    insert_missing(connection, proofs, mine)
    return answers | found


def _owner(row: Row) -> Owner:
    return Owner(row.id, row.owner, row.person_id, row.stamp)
