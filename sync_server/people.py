"""Owners, the proofs that a device may speak for them, and the links that make several owners one person.

What links add up to, see `sync_server.links`.
"""

import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, delete, insert, select, update

from contracts.identity import DeviceRole, OwnerKind, owner_kind
from sync_server import links
from sync_server.bulk import insert_rows, rows_at, update_rows
from sync_server.devices import Device
from sync_server.event_time import Fixed
from sync_server.identifiers import IdentifierKeys
from sync_server.identity import Proof
from sync_server.tables import owners, proofs, tombstones
from sync_server.turn import Turn

HANDLE_BYTES = 16


@dataclass(frozen=True)
class Owner:
    id: int
    kind: OwnerKind
    handle: str  # random: what logs and messages call it
    name: str | None  # `kind:value`, where whoever asked named it: the store does not know it
    person_id: int
    stamp: int  # when it appeared, was linked or decided on consent
    profile_stamp: int  # when its summary changed last
    not_before: int = 0  # what was made up to then is barred: an owner of this identifier was erased

    def bars(self, made: Fixed) -> bool:
        """Whether something was made before an erasure, or may have been."""
        return 0 < self.not_before >= made.earliest_ms


Speakers = dict[str, Owner | str]
"""For each name the owner, if a device may write as this owner, else the reason why not."""


def find(connection: Connection, keys: IdentifierKeys, names: Collection[str]) -> dict[str, Owner]:
    """The owners that are known, by name."""
    return {name: _owner(row, name) for name, row in _rows_of(connection, keys, names)}


def look_up(turn: Turn, names: Collection[str]) -> dict[str, Owner]:
    """The owners that are known, by name; those under an older key are put under the one in force."""
    rows = _rows_of(turn.connection, turn.keys, names)
    renewed = [
        {"id": row.id, "key_version": turn.key_version, "digest": turn.keys.digest(turn.key_version, name)}
        for name, row in rows
        if row.key_version < turn.key_version
    ]
    update_rows(turn.connection, owners, sorted(renewed, key=lambda row: row["id"]))
    return {name: _owner(row, name) for name, row in rows}


def create(turn: Turn, names: Collection[str]) -> dict[str, Owner]:
    """Owners of names that nobody has had, each a person of its own."""
    if not names:
        return {}
    digests = {turn.keys.digest(turn.key_version, name): name for name in sorted(names)}
    erased_at = erasures(turn, names)
    fresh = [
        {
            "kind": owner_kind(name),
            "key_version": turn.key_version,
            "digest": digest,
            "handle": secrets.token_hex(HANDLE_BYTES),
            "person_id": 0,
            "stamp": turn.stamp,
            "profile_stamp": 0,
            "not_before": erased_at.get(name, 0),
        }
        for digest, name in digests.items()
    ]
    turn.connection.execute(insert(owners), fresh)
    turn.connection.execute(update(owners).where(owners.c.person_id == 0).values(person_id=owners.c.id))
    rows = rows_at(turn.connection, owners, ("digest",), [(digest,) for digest in sorted(digests)])
    return {digests[row.digest]: _owner(row, digests[row.digest]) for row in rows}


def erasures(turn: Turn, names: Collection[str]) -> dict[str, int]:
    """When owners of these names were erased; tombstones under an older key are put under the one in force."""
    named = {digest: name for name in names for digest in turn.keys.digests(name)}
    rows = rows_at(turn.connection, tombstones, ("digest",), [(digest,) for digest in sorted(named)])
    found: dict[str, int] = {}
    for row in rows:
        found[named[row.digest]] = max(row.erased_at, found.get(named[row.digest], 0))
    older = [row.digest for row in rows if row.key_version < turn.key_version]
    if older:
        turn.connection.execute(delete(tombstones).where(tombstones.c.digest.in_(older)))
        renewed = [
            {"digest": digest, "key_version": turn.key_version, "erased_at": found[name]}
            for digest, name in sorted(
                (turn.keys.digest(turn.key_version, named[digest]), named[digest]) for digest in older
            )
        ]
        insert_rows(turn.connection, tombstones, renewed, "replace")
    return found


def ensure(turn: Turn, names: Collection[str]) -> dict[str, Owner]:
    """The owners of these names; those unknown so far are created."""
    known = look_up(turn, names)
    return known | create(turn, set(names) - known.keys())


def families(connection: Connection, people: Collection[int]) -> dict[int, list[Owner]]:
    """All owners of some persons, in the order they appeared."""
    found: dict[int, list[Owner]] = defaultdict(list)
    rows = rows_at(connection, owners, ("person_id",), [(person,) for person in sorted(people)])
    for row in sorted(rows, key=lambda row: row.id):
        found[row.person_id].append(_owner(row))
    return found


def person_of(connection: Connection, handle: str) -> int | None:
    """The person that an owner is, by the owner's handle; None if there is no such owner."""
    person: int | None = connection.execute(select(owners.c.person_id).where(owners.c.handle == handle)).scalar()
    return person


def prove(turn: Turn, device: Device, proven: Iterable[Proof], limits: Mapping[OwnerKind, int]) -> None:
    """Note that tokens were seen from a device: it may speak for the owners they name, who are one person.

    Args:
        turn: the transaction.
        device: which showed the tokens.
        proven: what they say.
        limits: identifiers of a kind that a person may have.
    """
    for proof in proven:
        named = ensure(turn, {proof.sub, *proof.also})
        rows = [
            {"owner_id": owner.id, "device_id": device.device_id, "proven_at": turn.now_ms} for owner in named.values()
        ]
        insert_rows(turn.connection, proofs, rows, "keep")
        one = named.pop(proof.sub).id
        pairs = ((min(one, owner.id), max(one, owner.id)) for owner in named.values())
        links.add(turn, device.device_id, pairs, limits)


def speakers(turn: Turn, asked: Sequence[tuple[Device, Collection[str]]], known: Mapping[str, Owner]) -> list[Speakers]:
    """Whom each of some devices may speak for.

    A phone speaks for owners proven by a token that it has shown; a till for every card it reads. An anonymous session
    belongs to the device that speaks for it first.

    Args:
        asked: devices and names.
        known: of all these names and any others, as `look_up` found them.

    Raises:
        WireError: if a name is no `kind:value`.
    """
    names = {name for _, wanted in asked for name in wanted}
    kinds = {name: owner_kind(name) for name in names}
    proven = _devices_of(turn.connection, {name: owner for name, owner in known.items() if name in names})
    reasons: list[dict[str, str]] = []
    claims: dict[str, Device] = {}
    for device, wanted in asked:
        reasons.append({name: _objection(device, kinds[name], proven[name]) for name in sorted(wanted)})
        for name, reason in reasons[-1].items():
            if not reason and kinds[name] is OwnerKind.ANONYMOUS and not proven[name]:
                claims[name] = device
                proven[name].add(device.device_id)
    allowed = {name for answer in reasons for name, reason in answer.items() if not reason}
    found = {**known, **create(turn, allowed - known.keys())}
    mine = [
        {"owner_id": found[name].id, "device_id": device.device_id, "proven_at": turn.now_ms}
        for name, device in claims.items()
    ]
    insert_rows(turn.connection, proofs, mine, "keep")
    return [{name: reason or found[name] for name, reason in answer.items()} for answer in reasons]


def readable(
    connection: Connection, keys: IdentifierKeys, device: Device, name: str, claims: Iterable[Proof]
) -> tuple[Owner | None, str]:
    """Whom a device may be told about, where nothing is written.

    Args:
        claims: of verified tokens that came with the question; they prove the owners that they name.

    Returns:
        the owner, None if nobody has spoken for them yet; and why the device may not be told, empty if it may.

    Raises:
        WireError: if the name is no `kind:value`.
    """
    kind = owner_kind(name)
    known = find(connection, keys, [name])
    proven = _devices_of(connection, known)[name]
    shown = any(name in (claim.sub, *claim.also) for claim in claims)
    return known.get(name), "" if shown else _objection(device, kind, proven)


def _objection(device: Device, kind: OwnerKind, proven: Collection[str]) -> str:
    """Why a device may not speak for an owner that these devices have proven; empty if it may."""
    if device.device_id in proven or (kind is OwnerKind.CARD and device.role is DeviceRole.TILL):
        return ""
    if kind is OwnerKind.ANONYMOUS and device.erased_at is not None and not proven:
        return "this device holds what was erased: forget it first"
    if kind is OwnerKind.ANONYMOUS:
        return "this anonymous session belongs to another device" if proven else ""
    if device.role is DeviceRole.TILL:
        return f"a till speaks for cards and anonymous sessions, not for a {kind}"
    return f"this {kind} is not proven on this device: send its identity token first"


def _devices_of(connection: Connection, known: dict[str, Owner]) -> dict[str, set[str]]:
    """Which devices have proven each owner, by name; empty for every other name."""
    names = {owner.id: name for name, owner in known.items()}
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows_at(connection, proofs, ("owner_id",), [(owner_id,) for owner_id in sorted(names)]):
        found[names[row.owner_id]].add(row.device_id)
    return found


def _rows_of(connection: Connection, keys: IdentifierKeys, names: Collection[str]) -> list[tuple[str, Row]]:
    """Owners' rows, each with its name, whichever live key it is under."""
    named = {digest: name for name in names for digest in keys.digests(name)}
    return [(named[row.digest], row) for row in rows_at(connection, owners, ("digest",), [(d,) for d in sorted(named)])]


def _owner(row: Row, name: str | None = None) -> Owner:
    return Owner(
        row.id, OwnerKind(row.kind), row.handle, name, row.person_id, row.stamp, row.profile_stamp, row.not_before
    )
