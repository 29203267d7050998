"""What people allow: every decision is kept, and judged inside the transaction that needs it.

Consent belongs to an owner. A person's standing decision for a purpose is a grant only if every linked owner that
ever decided on it grants: the opt-out of one is the opt-out of all, and an owner that never decided follows the
others. What a device may read is judged by what stands; what is kept, besides by what stood when it was made: see
`sync_server.consent_history`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from contracts.consent import Consent, ConsentFact, Purpose, decide
from contracts.outbox import ConsentChanged
from sync_server import audit_log, outbox
from sync_server.audit_log import Entry
from sync_server.bulk import insert_rows, rows_at, update_rows
from sync_server.people import Owner, families
from sync_server.tables import consent_facts, consents, owners
from sync_server.turn import Turn

KEEPING = Purpose.PERSONALIZATION, Purpose.ANALYTICS, Purpose.MODEL_TRAINING
"""An event is kept if its person allows any of these."""

_PURPOSES = {str(purpose): purpose for purpose in Purpose}  # an enum's own look-up is slow

Standing = dict[Purpose, Consent]

Allowed = Mapping[Purpose, int]
"""The purposes that a person allows, each with the moment since which no owner's grant was broken."""


@dataclass(frozen=True)
class Decision:
    """A fact on its way into the store."""

    owner: Owner
    fact: ConsentFact
    actor: str  # who passes it on, see `sync_server.audit_log.Entry`
    device_id: str  # which it came from, empty if from none
    made_ms: int  # see `sync_server.event_time.fix_decision`


def apply(turn: Turn, decisions: Iterable[Decision]) -> None:
    """Take facts in their order, each once, in a fixed number of statements; none for none."""
    once: dict[tuple[int, str], Decision] = {}
    for one in decisions:
        once.setdefault((one.owner.id, one.fact.fact_id), one)
    for row in rows_at(turn.connection, consent_facts, ("owner_id", "fact_id"), sorted(once)):
        del once[row.owner_id, row.fact_id]
    if not once:
        return
    standing = _standing(turn.connection, {owner_id for owner_id, _ in once})
    applied: list[Decision] = []
    facts: list[dict[str, Any]] = []
    changed: dict[tuple[int, str], dict[str, Any]] = {}
    for (owner_id, fact_id), one in once.items():
        fact, key = one.fact, (owner_id, one.fact.purpose.value)
        before, since = standing.get(key, (Consent(), 0))
        after = decide(before, fact)
        # An opt-in that counts saw what stood: it came later, whatever the clocks say.
        made_ms = max(one.made_ms, since) if fact.granted and after != before else one.made_ms
        facts.append(
            {
                "owner_id": owner_id,
                "fact_id": fact_id,
                "purpose": fact.purpose.value,
                "granted": fact.granted,
                "cites": fact.cites,
                "version": after.version,
                "applied": after != before,
                "device_id": one.device_id,
                "made_ms": made_ms,
                "boot_id": fact.boot_id,
                "uptime_ms": fact.uptime_ms,
                "received_at": turn.now_ms,
            }
        )
        if after == before:
            continue
        applied.append(one)
        since = since if before.granted and after.granted else max(since, made_ms)
        standing[key] = after, since
        changed[key] = {
            "owner_id": owner_id,
            "purpose": fact.purpose.value,
            "version": after.version,
            "granted": after.granted,
            "since": since,
            "stamp": turn.stamp,
        }
    insert_rows(turn.connection, consents, [changed[key] for key in sorted(changed)], "replace")
    decided = sorted({owner_id for owner_id, _ in changed})
    update_rows(turn.connection, owners, [{"id": owner_id, "stamp": turn.stamp} for owner_id in decided])
    insert_rows(turn.connection, consent_facts, sorted(facts, key=lambda row: (row["owner_id"], row["fact_id"])))
    audit_log.record_all(
        turn,
        [
            Entry(one.actor, "opt_in" if one.fact.granted else "opt_out", one.owner.handle, one.fact.purpose)
            for one in applied
        ],
    )
    _tell_changed(turn, decided)


def _tell_changed(turn: Turn, owner_ids: Collection[int]) -> None:
    """Tell outward what the persons whose owners have decided allow now."""
    if turn.publishes and owner_ids:
        handles = outbox.persons(turn.connection, owner_ids)
        allowed = granted(turn.connection, handles)
        told = [
            ConsentChanged(handle=handle, version=turn.stamp, at=turn.now_ms, allows=tuple(sorted(allowed[person])))
            for person, handle in handles.items()
        ]
        outbox.add(turn, told)


def of_owners(connection: Connection, owner_ids: Collection[int]) -> dict[int, Standing]:
    """The own standing decisions of some owners."""
    return _own(_standing(connection, owner_ids))


def of_families(
    connection: Connection, members: Mapping[int, Collection[Owner]]
) -> tuple[dict[int, Allowed], dict[int, Standing]]:
    """What some persons allow, and the own standing decisions of each of their owners, in one statement.

    Args:
        connection: to the store.
        members: all owners of each person.
    """
    person_of = {member.id: person for person, family in members.items() for member in family}
    standing = _standing(connection, person_of)
    votes: dict[int, dict[Purpose, list[tuple[bool, int]]]] = {person: defaultdict(list) for person in members}
    for (owner_id, purpose), (consent, since) in standing.items():
        votes[person_of[owner_id]][_PURPOSES[purpose]].append((consent.granted, since))
    allowed: dict[int, Allowed] = {
        person: {
            purpose: max(since for _, since in some)
            for purpose, some in by_purpose.items()
            if all(grants for grants, _ in some)
        }
        for person, by_purpose in votes.items()
    }
    return allowed, _own(standing)


def granted(connection: Connection, people: Collection[int]) -> dict[int, Allowed]:
    """What each of these people allows."""
    known = families(connection, people)
    allowed, _ = of_families(connection, {person: known[person] for person in people})
    return allowed


def _own(standing: Mapping[tuple[int, str], tuple[Consent, int]]) -> dict[int, Standing]:
    found: dict[int, Standing] = defaultdict(dict)
    for (owner_id, purpose), (consent, _) in standing.items():
        found[owner_id][_PURPOSES[purpose]] = consent
    return found


def _standing(connection: Connection, owner_ids: Collection[int]) -> dict[tuple[int, str], tuple[Consent, int]]:
    """By owner and purpose, with `since`."""
    rows = rows_at(connection, consents, ("owner_id",), [(owner_id,) for owner_id in sorted(owner_ids)])
    return {(row.owner_id, row.purpose): (Consent(version=row.version, granted=row.granted), row.since) for row in rows}
