"""Taking apart what was wrongly taken for one person, and putting it together again.

Summaries belong to owners and are merged when read, so nothing is replayed: the two sides are as if they had never been
linked. A separation stays, and outranks every link, also later ones, until staff lift it.
"""

import re
from collections.abc import Collection

from sqlalchemy import Connection, insert, select, update

from contracts.errors import UnknownError, WireError
from contracts.unmerge import Outward, Reason, Separation
from sync_server import audit_log, links, outbox
from sync_server.bulk import insert_rows, rows_at
from sync_server.persons import resolve
from sync_server.tables import owners, separated, separations
from sync_server.turn import Turn

_HANDLE = re.compile("[0-9a-f]{32}")


def unmerge(turn: Turn, actor: str, one_side: Collection[str], other_side: Collection[str]) -> Separation:
    """Keep two sides apart from now on, and tell the devices of both.

    Args:
        turn: the transaction.
        actor: who decides, as the audit log names them.
        one_side: owners' handles.
        other_side: likewise. Whoever is named on neither side goes where the remaining links lead.

    Raises:
        WireError: if a side is empty, or an owner stands on both.
        UnknownError: if there is no owner of a handle.
    """
    if not one_side or not other_side or set(one_side) & set(other_side):
        raise WireError("each side takes at least one handle, and no handle stands on both: choose who is apart")
    ids = _ids(turn.connection, {*one_side, *other_side})
    sides = {ids[handle] for handle in one_side}, {ids[handle] for handle in other_side}
    found = links.evidence(turn.connection, ids.values())
    joined_at = _joined_at(found, *sides)
    number = int(
        turn.connection.execute(
            insert(separations).values(actor=actor, made_at=turn.now_ms).returning(separations.c.id)
        ).scalar_one()
    )
    rows = [
        {"separation_id": number, "owner_id": owner, "side": side}
        for side, members in enumerate(sides)
        for owner in sorted(members)
    ]
    insert_rows(turn.connection, separated, rows)
    persons = resolve(found.kinds, found.links, [*found.apart, sides])
    links.settle(turn, found, persons)
    handles = {owner: row.handle for owner, row in found.owners.items()}
    whole = {found.owners[owner].person_id for owner in (*sides[0], *sides[1])}
    named = [row.handle for row in found.owners.values() if row.person_id in whole]
    detail = {"separation": number, "one_side": sorted(one_side), "other_side": sorted(other_side)}
    audit_log.record(turn, actor, "unmerge", handles[min(whole)], detail)
    told = outbox.published(turn.connection, named, joined_at) if joined_at else []
    return Separation(
        separation=number,
        persons=tuple(handles[person] for person in sorted({persons[owner] for owner in ids.values()})),
        joined_at=joined_at,
        published=tuple(Outward(message=one.message, acknowledged=one.acknowledged) for one in told),
    )


def lift(turn: Turn, actor: str, separation: int) -> tuple[str, ...]:
    """Let links count again between the sides of a separation, and return the handles of the persons they are then.

    Raises:
        UnknownError: if there is no such separation in force.
    """
    mine = (separations.c.id == separation) & separations.c.lifted_at.is_(None)
    lifted = turn.connection.execute(update(separations).where(mine).values(lifted_at=turn.now_ms, lifted_by=actor))
    if not lifted.rowcount:
        raise UnknownError(f"separation {separation} is not in force: name one that is")
    members = turn.connection.execute(select(separated.c.owner_id).where(separated.c.separation_id == separation))
    found = links.evidence(turn.connection, members.scalars().all())
    persons = resolve(found.kinds, found.links, found.apart)
    links.settle(turn, found, persons)
    named = tuple(found.owners[person].handle for person in sorted(set(persons.values())))
    audit_log.record(turn, actor, "lift", named[0] if named else "", {"separation": separation})
    return named


def why(connection: Connection, one: str, other: str) -> tuple[Reason, ...]:
    """By which links two owners are one person, a chain from the one to the other; empty if they are two.

    Args:
        connection: to the store.
        one: an owner's handle.
        other: likewise.

    Raises:
        UnknownError: if there is no owner of a handle.
    """
    ids = _ids(connection, {one, other})
    chain = links.path(connection, ids[one], ids[other])
    passed = {owner for row in chain for owner in (row.first_id, row.second_id)}
    handles = {row.id: row.handle for row in rows_at(connection, owners, ("id",), [(owner,) for owner in passed])}
    found, at = [], ids[one]
    for row in chain:
        ends = (row.first_id, row.second_id) if row.first_id == at else (row.second_id, row.first_id)
        found.append(
            Reason(one=handles[ends[0]], other=handles[ends[1]], linked_at=row.linked_at, device_id=row.device_id)
        )
        at = ends[1]
    return tuple(found)


def _ids(connection: Connection, handles: Collection[str]) -> dict[str, int]:
    wellformed = sorted(handle for handle in handles if _HANDLE.fullmatch(handle))
    rows = rows_at(connection, owners, ("handle",), [(handle,) for handle in wellformed])
    found = {row.handle: row.id for row in rows}
    for handle in sorted(set(handles) - found.keys()):
        raise UnknownError(f"there is no owner {handle!r} here: name owners by their handles")
    return found


def _joined_at(found: links.Evidence, one_side: Collection[int], other_side: Collection[int]) -> int:
    """When the links first made somebody of the one side and somebody of the other one person, 0 if never."""
    came = sorted(found.links.items(), key=lambda link: (link[1].linked_at, link[0]))
    groups = {owner: {owner} for owner in found.owners}
    for (first, second), row in came:
        if groups[first] is groups[second]:
            continue
        joined = groups[first] | groups[second]
        groups |= dict.fromkeys(joined, joined)
        if joined & set(one_side) and joined & set(other_side):
            return int(row.linked_at)
    return 0
