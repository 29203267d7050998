"""What the page shows of a person: identifiers by their handles, why they are one person, what was told and noted."""

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, or_, select

from sync_server import audit_log, outbox
from sync_server.outbox import Told
from sync_server.tables import links, owners, separated, separations


@dataclass(frozen=True)
class Step:
    """A link that leads from an identifier towards the first one."""

    kind: str  # of the identifier it leads to
    handle: str
    device_id: str  # on which a token was shown that names both
    at: int  # milliseconds since 1970


@dataclass(frozen=True)
class Identifier:
    kind: str
    handle: str
    why: tuple[Step, ...]  # none: it is the first one


@dataclass(frozen=True)
class Apart:
    """A separation in force."""

    number: int
    others: tuple[str, ...]  # handles of the identifiers on the other side
    actor: str
    at: int  # milliseconds since 1970


@dataclass(frozen=True)
class Person:
    handle: str
    id: int
    identifiers: tuple[Identifier, ...]
    separations: tuple[Apart, ...]
    told: Sequence[Told]  # outward, newest first

    def noted(self, connection: Connection) -> list[dict[str, Any]]:
        """What the audit log says of the person, newest first."""
        return audit_log.entries_about(connection, [one.handle for one in self.identifiers])[::-1]


def find_person(connection: Connection, handle: str) -> Person | None:
    """The person of whom a handle is an identifier's; None if there is none (any more)."""
    person_id = connection.execute(select(owners.c.person_id).where(owners.c.handle == handle)).scalar()
    if person_id is None:
        return None
    rows = connection.execute(select(owners).where(owners.c.person_id == person_id).order_by(owners.c.id)).all()
    known = {row.id: row for row in rows}
    first = known.get(person_id, rows[0])
    mine = or_(links.c.first_id.in_(known), links.c.second_id.in_(known)) & (links.c.reason == "")
    paths = _paths(first.id, known, connection.execute(select(links).where(mine).order_by(links.c.linked_at)))
    return Person(
        handle=first.handle,
        id=person_id,
        identifiers=tuple(Identifier(row.kind, row.handle, paths.get(row.id, ())) for row in rows),
        separations=_apart(connection, known),
        told=outbox.published(connection, [row.handle for row in rows])[::-1],
    )


def _apart(connection: Connection, known: Collection[int]) -> tuple[Apart, ...]:
    """Separations in force between some owners and others, oldest first."""
    mine, theirs = separated.alias(), separated.alias()
    same = mine.c.separation_id == theirs.c.separation_id
    chosen = (
        select(separations, owners.c.handle.label("other"))
        .distinct()
        .join_from(separations, mine, mine.c.separation_id == separations.c.id)
        .join(theirs, same & (mine.c.side != theirs.c.side))
        .join(owners, owners.c.id == theirs.c.owner_id)
        .where(mine.c.owner_id.in_(known), separations.c.lifted_at.is_(None))
        .order_by(separations.c.id, owners.c.handle)
    )
    found: dict[int, Apart] = {}
    for row in connection.execute(chosen):
        others = found[row.id].others if row.id in found else ()
        found[row.id] = Apart(row.id, (*others, row.other), row.actor, row.made_at)
    return tuple(found.values())


def _paths(first: int, known: Mapping[int, Row], found: Iterable[Row]) -> dict[int, tuple[Step, ...]]:
    """The fewest links from each owner to the first one, the nearest first; older links before younger ones."""
    beside: dict[int, list[tuple[int, Row]]] = defaultdict(list)
    for link in found:
        beside[link.first_id].append((link.second_id, link))
        beside[link.second_id].append((link.first_id, link))
    paths: dict[int, tuple[Step, ...]] = {first: ()}
    waiting = deque([first])
    while waiting:
        here = waiting.popleft()
        for there, link in beside[here]:
            if there in known and there not in paths:
                step = Step(known[here].kind, known[here].handle, link.device_id, link.linked_at)
                paths[there] = (step, *paths[here])
                waiting.append(there)
    return paths
