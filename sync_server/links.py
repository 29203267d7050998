"""Links between owners, the separations that outrank them, and what they add up to: persons.

A link is evidence and is kept for ever; it is judged when it comes. Whatever changes, persons are worked out anew from
all links that hang together (see `sync_server.persons`), so they do not depend on the order in which devices came.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, select

from contracts.codec import encode
from contracts.identity import OwnerKind
from contracts.outbox import Merged, Message, Unmerged
from sync_server import outbox
from sync_server.bulk import insert_rows, rows_at, update_rows
from sync_server.persons import Sides, resolve
from sync_server.tables import links, owners, separated, separations
from sync_server.turn import Turn

_REACHED = {  # owners as far as links lead from some, as `bulk` passes keys
    dialect: f"WITH RECURSIVE reached(id) AS (SELECT {first} "
    "UNION SELECT l.first_id + l.second_id - r.id FROM reached AS r "
    "JOIN links AS l ON (l.first_id = r.id OR l.second_id = r.id) AND l.reason = '') "
    "SELECT o.* FROM reached AS r JOIN owners AS o ON o.id = r.id"
    for dialect, first in (
        ("sqlite", "value FROM json_each(?)"),
        ("postgresql", "value::bigint FROM json_array_elements_text(%s::json)"),
    )
}

Pair = tuple[int, int]
"""Two owners' ids, the smaller first."""


@dataclass(frozen=True)
class Evidence:
    """Owners that hang together, as far as links reach."""

    owners: dict[int, Row]  # by id
    links: dict[Pair, Row]  # but for those beyond a limit
    apart: list[Sides]  # what is in force between them

    @property
    def kinds(self) -> dict[int, OwnerKind]:
        return {owner: OwnerKind(row.kind) for owner, row in self.owners.items()}


def add(turn: Turn, device_id: str, pairs: Iterable[Pair], limits: Mapping[OwnerKind, int]) -> None:
    """Take links that a device has shown; those known already change nothing.

    Args:
        turn: the transaction.
        device_id: of the device.
        pairs: owners that are said to be one person.
        limits: identifiers of a kind that a person may have; a link that leads beyond is kept with its reason, and
            joins nobody.
    """
    wanted = sorted(set(pairs))
    known = {
        (row.first_id, row.second_id) for row in rows_at(turn.connection, links, ("first_id", "second_id"), wanted)
    }
    fresh = [pair for pair in wanted if pair not in known]
    if not fresh:
        return
    found = evidence(turn.connection, {owner for pair in fresh for owner in pair})
    kinds, taken = found.kinds, list(found.links)
    reasons: dict[Pair, str] = {}
    persons = {owner: row.person_id for owner, row in found.owners.items()}
    for pair in fresh:
        joined = resolve(kinds, [*taken, pair], found.apart)
        reasons[pair] = _beyond(kinds, joined, pair, limits)
        if not reasons[pair]:
            taken.append(pair)
            persons = joined
    judged = [
        {
            "first_id": first,
            "second_id": second,
            "device_id": device_id,
            "linked_at": turn.now_ms,
            "reason": reasons[first, second],
        }
        for first, second in fresh
    ]
    insert_rows(turn.connection, links, judged)
    settle(turn, found, persons)


def evidence(connection: Connection, owner_ids: Collection[int]) -> Evidence:
    """All that bears on which persons some owners are."""
    reached = _REACHED[connection.dialect.name]
    rows = connection.exec_driver_sql(reached, (encode(sorted(set(owner_ids))).decode(),)).all()
    members = {row.id: row for row in rows}
    between = rows_at(connection, links, ("first_id",), [(owner,) for owner in sorted(members)])
    return Evidence(
        owners=members,
        links={(row.first_id, row.second_id): row for row in between if not row.reason},
        apart=list(_apart(connection, members).values()),
    )


def settle(turn: Turn, before: Evidence, persons: Mapping[int, int]) -> None:
    """Write down who is one person now, so that all their devices are told, and tell it outward.

    Args:
        turn: the transaction.
        before: the owners as they are in the store.
        persons: the person that each of them is from now on.
    """
    old, new = defaultdict(set), defaultdict(set)
    for owner, row in before.owners.items():
        old[row.person_id].add(owner)
        new[persons[owner]].add(owner)
    changed = {owner for person, members in new.items() if old.get(person) != members for owner in members}
    rows = [{"id": owner, "person_id": persons[owner], "stamp": turn.stamp} for owner in sorted(changed)]
    update_rows(turn.connection, owners, rows)
    if turn.publishes and changed:
        handles = {owner: row.handle for owner, row in before.owners.items()}
        parts = {person: sorted({persons[owner] for owner in members}) for person, members in old.items()}
        sources = {
            person: sorted({before.owners[owner].person_id for owner in members}) for person, members in new.items()
        }
        told: list[Message] = [
            Unmerged(
                handle=handles[person],
                version=turn.stamp,
                at=turn.now_ms,
                parts=tuple(handles[part] for part in sorted({person, *several})),
            )
            for person, several in sorted(parts.items())
            if len(several) > 1
        ]
        told += [
            Merged(
                handle=handles[person],
                version=turn.stamp,
                at=turn.now_ms,
                absorbed=tuple(handles[source] for source in several if source != person),
            )
            for person, several in sorted(sources.items())
            if len(several) > 1
        ]
        outbox.add(turn, told)


def _beyond(
    kinds: Mapping[int, OwnerKind], persons: Mapping[int, int], pair: Pair, limits: Mapping[OwnerKind, int]
) -> str:
    """Why a link joins too many identifiers of a kind, empty if it does not."""
    if persons[pair[0]] != persons[pair[1]]:
        return ""
    counts = Counter(kinds[owner] for owner, person in persons.items() if person == persons[pair[0]])
    for kind, count in counts.items():
        if count > limits[kind]:
            return f"a person has at most {limits[kind]} identifiers of kind {kind}, this link would make it {count}"
    return ""


def _apart(connection: Connection, owner_ids: Collection[int]) -> dict[int, Sides]:
    """The separations in force that keep some of these owners apart, by id."""
    rows = rows_at(connection, separated, ("owner_id",), [(owner,) for owner in sorted(owner_ids)])
    numbers = {row.separation_id for row in rows}
    if not numbers:
        return {}
    lifted = select(separations.c.id).where(separations.c.id.in_(sorted(numbers)), separations.c.lifted_at.is_not(None))
    over = set(connection.execute(lifted).scalars())
    found: dict[int, tuple[set[int], set[int]]] = defaultdict(lambda: (set(), set()))
    for row in rows:
        if row.separation_id not in over:
            found[row.separation_id][row.side].add(row.owner_id)
    return {number: sides for number, sides in sorted(found.items()) if all(sides)}


def path(connection: Connection, one: int, other: int) -> list[Row]:
    """The shortest chain of links by which two owners are one person, from the one to the other; empty if they are not.

    Of each link: both ends, the device that showed the token, and when.
    """
    first, second = owners.alias("first"), owners.alias("second")
    person = select(owners.c.person_id).where(owners.c.id == one).scalar_subquery()
    chosen = (
        select(links)
        .join(first, first.c.id == links.c.first_id)
        .join(second, second.c.id == links.c.second_id)
        .where(first.c.person_id == person, second.c.person_id == person, links.c.reason == "")
    )
    ways: dict[int, list[tuple[int, Row]]] = defaultdict(list)
    for row in connection.execute(chosen.order_by(links.c.linked_at, links.c.first_id, links.c.second_id)):
        ways[row.first_id].append((row.second_id, row))
        ways[row.second_id].append((row.first_id, row))
    came: dict[int, tuple[int, Row] | None] = {one: None}
    waiting: Sequence[int] = [one]
    while waiting and other not in came:
        reached = []
        for owner in waiting:
            for neighbour, row in ways[owner]:
                if neighbour not in came:
                    came[neighbour] = (owner, row)
                    reached.append(neighbour)
        waiting = reached
    chain = []
    step = came.get(other)
    while step is not None:
        chain.append(step[1])
        step = came[step[0]]
    return chain[::-1]
