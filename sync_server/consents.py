"""What people allow: every decision is kept, and judged inside the transaction that needs it.

Consent belongs to an owner. A person's standing decision for a purpose is a grant only if every linked owner that
ever decided on it grants: the opt-out of one is the opt-out of all, and an owner that never decided follows the
others. What a device may read or have kept is judged by the person's decision.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable

from sqlalchemy import Connection, insert, select

from contracts.consent import Consent, ConsentFact, Purpose, decide
from contracts.outbox import ConsentChanged
from sync_server import outbox
from sync_server.bulk import insert_rows, update_rows
from sync_server.devices import Device
from sync_server.people import Owner
from sync_server.tables import consent_facts, consents, owners
from sync_server.turn import Turn

KEEPING = (Purpose.PERSONALIZATION, Purpose.ANALYTICS, Purpose.MODEL_TRAINING)
"""An event is kept if its person allows any of these."""

Standing = dict[Purpose, Consent]


def apply(turn: Turn, device: Device, decisions: Iterable[tuple[Owner, ConsentFact]]) -> None:
    """Take facts in their order, each once."""
    changed: set[int] = set()
    for owner, fact in decisions:
        same = (consent_facts.c.owner_id == owner.id, consent_facts.c.fact_id == fact.fact_id)
        if turn.connection.execute(select(consent_facts.c.version).where(*same)).first():
            continue
        before = of_owners(turn.connection, [owner.id])[owner.id].get(fact.purpose, Consent())
        after = decide(before, fact)
        if after != before:
            changed.add(owner.id)
            row = {"owner_id": owner.id, "purpose": fact.purpose, "version": after.version, "granted": after.granted}
            insert_rows(turn.connection, consents, [{**row, "stamp": turn.stamp}], "replace")
            update_rows(turn.connection, owners, [{"id": owner.id, "stamp": turn.stamp}])
        turn.connection.execute(
            insert(consent_facts).values(
                owner_id=owner.id,
                fact_id=fact.fact_id,
                purpose=fact.purpose,
                granted=fact.granted,
                cites=fact.cites,
                version=after.version,
                applied=after != before,
                device_id=device.device_id,
                received_at=turn.now_ms,
            )
        )
    _tell_changed(turn, changed)


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
    if owner_ids:
        for row in connection.execute(select(consents).where(consents.c.owner_id.in_(sorted(owner_ids)))):
            found[row.owner_id][Purpose(row.purpose)] = Consent(version=row.version, granted=row.granted)
    return found


def granted(connection: Connection, people: Collection[int]) -> dict[int, frozenset[Purpose]]:
    """The purposes that each of these people allows."""
    if not people:
        return {}
    decided = select(owners.c.person_id, consents.c.purpose, consents.c.granted).join_from(owners, consents)
    votes: dict[int, dict[str, bool]] = defaultdict(dict)
    for person, purpose, allows in connection.execute(decided.where(owners.c.person_id.in_(sorted(people)))):
        votes[person][purpose] = votes[person].get(purpose, True) and allows
    return {
        person: frozenset(Purpose(purpose) for purpose, allows in votes[person].items() if allows) for person in people
    }
