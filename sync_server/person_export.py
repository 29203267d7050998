"""All that is held about a person, read in one transaction."""

import msgspec
from sqlalchemy import Connection, or_, select

from contracts.errors import UnknownError
from contracts.people import (
    HeldDecision,
    HeldDevice,
    HeldEntry,
    HeldEvent,
    HeldLink,
    HeldOwner,
    HeldProof,
    HeldRound,
    HeldSeparation,
    PersonExport,
)
from contracts.sync import VerdictKind
from contracts.windows import as_hour_counts
from sync_server import audit_log, hour_counts, outbox, owner_events, profiles
from sync_server.tables import (
    consent_facts,
    devices,
    links,
    owners,
    proofs,
    round_tasks,
    rounds,
    separated,
    separations,
)
from sync_server.turn import Turn


def export(turn: Turn, person_id: int, actor: str) -> PersonExport:
    """All that is held about a person: every linked owner, as they are now.

    Args:
        turn: the transaction, which also notes that the export was made.
        person_id: whom.
        actor: who asked for it, see `sync_server.audit_log.Entry`.

    Raises:
        UnknownError: if there is no such person.
    """
    connection = turn.connection
    rows = connection.execute(select(owners).where(owners.c.person_id == person_id).order_by(owners.c.id)).all()
    if not rows:
        raise UnknownError("nothing is held about this person: there is nothing to export")
    handles: dict[int, str] = {row.id: row.handle for row in rows}
    handle = handles.get(person_id, rows[0].handle)
    audit_log.record(turn, actor, "export", handle)
    return PersonExport(
        exported_at=turn.now_ms,
        handle=handle,
        owners=tuple(HeldOwner(handle=row.handle, kind=row.kind, key_version=row.key_version) for row in rows),
        links=_links(connection, handles),
        separations=_separations(connection, handles),
        proofs=_proofs(connection, handles),
        devices=_devices(connection, handles),
        decisions=_decisions(connection, handles),
        events=_events(connection, handles),
        summaries={handle: profiles.of_owners(connection, [owner_id]) for owner_id, handle in handles.items()},
        hours={
            handle: as_hour_counts(hour_counts.of_owners(connection, [owner_id]))
            for owner_id, handle in handles.items()
        },
        rounds=_rounds(connection, handles),
        audit=tuple(
            HeldEntry(**{**entry, "detail": msgspec.json.decode(entry["detail"])})
            for entry in audit_log.entries_about(connection, handles.values())
        ),
        published=tuple(one.message for one in outbox.published(connection, handles.values())),
    )


def _links(connection: Connection, handles: dict[int, str]) -> tuple[HeldLink, ...]:
    mine = or_(links.c.first_id.in_(handles), links.c.second_id.in_(handles))
    return tuple(
        HeldLink(
            owners=(handles.get(row.first_id, ""), handles.get(row.second_id, "")),
            device_id=row.device_id,
            linked_at=row.linked_at,
            reason=row.reason,
        )
        for row in connection.execute(select(links).where(mine).order_by(links.c.linked_at))
    )


def _separations(connection: Connection, handles: dict[int, str]) -> tuple[HeldSeparation, ...]:
    mine = select(separations, separated.c.owner_id).join_from(separations, separated)
    found: dict[int, HeldSeparation] = {}
    for row in connection.execute(mine.where(separated.c.owner_id.in_(handles)).order_by(separations.c.id)):
        before = found[row.id].owners if row.id in found else ()
        owners_of_side = (*before, handles[row.owner_id])
        found[row.id] = HeldSeparation(owners=owners_of_side, made_at=row.made_at, lifted_at=row.lifted_at)
    return tuple(found.values())


def _proofs(connection: Connection, handles: dict[int, str]) -> tuple[HeldProof, ...]:
    chosen = select(proofs).where(proofs.c.owner_id.in_(handles)).order_by(proofs.c.proven_at)
    return tuple(
        HeldProof(owner=handles[row.owner_id], device_id=row.device_id, proven_at=row.proven_at)
        for row in connection.execute(chosen)
    )


def _devices(connection: Connection, handles: dict[int, str]) -> tuple[HeldDevice, ...]:
    proven = select(proofs.c.device_id).where(proofs.c.owner_id.in_(handles))
    chosen = select(devices).where(or_(devices.c.owner_id.in_(handles), devices.c.device_id.in_(proven)))
    return tuple(
        HeldDevice(
            device_id=row.device_id,
            role=row.role,
            enrolled_at=row.enrolled_at,
            synced_at=row.synced_at,
            current=row.owner_id in handles,
        )
        for row in connection.execute(chosen.order_by(devices.c.enrolled_at, devices.c.device_id))
    )


def _decisions(connection: Connection, handles: dict[int, str]) -> tuple[HeldDecision, ...]:
    chosen = select(consent_facts).where(consent_facts.c.owner_id.in_(handles))
    order = (consent_facts.c.received_at, consent_facts.c.purpose, consent_facts.c.version)
    return tuple(
        HeldDecision(
            owner=handles[row.owner_id],
            purpose=row.purpose,
            granted=row.granted,
            cites=row.cites,
            version=row.version,
            counted=row.applied,
            made_at=row.made_ms,
            received_at=row.received_at,
            device_id=row.device_id,
        )
        for row in connection.execute(chosen.order_by(*order))
    )


def _events(connection: Connection, handles: dict[int, str]) -> tuple[HeldEvent, ...]:
    return tuple(
        HeldEvent(
            owner=handles[row.owner_id],
            device_id=row.device_id,
            epoch=row.epoch,
            seq=row.seq,
            verdict=row.verdict,
            reason=row.reason,
            occurred_at=row.occurred_ms,
            uncertain=row.uncertain,
            profiled=row.profiled if row.verdict == VerdictKind.ACCEPTED else None,
            received_at=row.received_at,
            payload=None if row.payload is None else msgspec.json.decode(row.payload),
        )
        for row in owner_events.of_owners(connection, list(handles))
    )


def _rounds(connection: Connection, handles: dict[int, str]) -> tuple[HeldRound, ...]:
    same = (rounds.c.round_id == round_tasks.c.round_id) & (rounds.c.gateway == round_tasks.c.gateway)
    chosen = select(round_tasks.c.round_id, rounds.c.deadline, round_tasks.c.answered_at)
    chosen = chosen.join_from(round_tasks, rounds, same).where(round_tasks.c.person_id.in_(handles))
    return tuple(
        HeldRound(round_id=row.round_id, asked_until=row.deadline, answered_at=row.answered_at)
        for row in connection.execute(chosen.order_by(rounds.c.deadline, round_tasks.c.round_id))
    )
