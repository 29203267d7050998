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

from sqlalchemy import Connection, select

from contracts.consent import Consent, ConsentFact, Purpose, decide
from contracts.outbox import ConsentChanged
from sync_server import audit_log, outbox
from sync_server.audit_log import Entry
from sync_server.bulk import insert_rows, rows_at, update_rows
from sync_server.people import Owner
from sync_server.tables import consent_facts, consents, owners
from sync_server.turn import Turn

KEEPING = (Purpose.PERSONALIZATION, Purpose.ANALYTICS, Purpose.MODEL_TRAINING)
"""An event is kept if its person allows any of these."""

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
    found: dict[int, Standing] = defaultdict(dict)
    for (owner_id, purpose), (consent, _) in _standing(connection, owner_ids).items():
        found[owner_id][Purpose(purpose)] = consent
    return found


def granted(connection: Connection, people: Collection[int]) -> dict[int, Allowed]:
    """What each of these people allows."""
    if not people:
        return {}
    decided = select(owners.c.person_id, consents.c.purpose, consents.c.granted, consents.c.since)
    votes: dict[int, dict[str, list[tuple[bool, int]]]] = {person: defaultdict(list) for person in people}
    for person, purpose, grants, since in connection.execute(
        decided.join_from(owners, consents).where(owners.c.person_id.in_(sorted(people)))
    ):
        votes[person][purpose].append((grants, since))
    return {
        person: {
            Purpose(purpose): max(since for _, since in some)
            for purpose, some in by_purpose.items()
            if all(grants for grants, _ in some)
        }
        for person, by_purpose in votes.items()
    }


def _standing(connection: Connection, owner_ids: Collection[int]) -> dict[tuple[int, str], tuple[Consent, int]]:
    """By owner and purpose, with `since`."""
    if not owner_ids:
        return {}
    rows = connection.execute(select(consents).where(consents.c.owner_id.in_(sorted(owner_ids))))
    return {(row.owner_id, row.purpose): (Consent(version=row.version, granted=row.granted), row.since) for row in rows}
