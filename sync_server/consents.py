"""What people allow: every decision is kept, and judged inside the transaction that needs it.

Consent belongs to an owner. A person's standing decision for a purpose is a grant only if every linked owner that
ever decided on it grants: the opt-out of one is the opt-out of all, and an owner that never decided follows the
others. What a device may read or have kept is judged by the person's decision.
"""

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, insert, select

from contracts.consent import Consent, ConsentFact, Purpose, decide
from sync_server.devices import Device
from sync_server.people import Owner
from sync_server.sql_store import upsert
from sync_server.tables import consent_facts, consents, owners

KEEPING = (Purpose.PERSONALIZATION, Purpose.ANALYTICS, Purpose.MODEL_TRAINING)
"""An event is kept if its person allows any of these."""


def apply(
    connection: Connection, device: Device, decisions: Iterable[tuple[Owner, ConsentFact]], stamp: int, now_ms: int
) -> None:
    """Take facts in their order, each once."""
    for owner, fact in decisions:
        same = (consent_facts.c.owner_id == owner.id, consent_facts.c.fact_id == fact.fact_id)
        if connection.execute(select(consent_facts.c.version).where(*same)).first():
            continue
        before = of_owner(connection, owner.id).get(fact.purpose, Consent())
        after = decide(before, fact)
        if after != before:
            row = {"owner_id": owner.id, "purpose": fact.purpose, "version": after.version, "granted": after.granted}
            upsert(connection, consents, [{**row, "stamp": stamp}])
        connection.execute(
            insert(consent_facts).values(
                owner_id=owner.id,
                fact_id=fact.fact_id,
                purpose=fact.purpose,
                granted=fact.granted,
                cites=fact.cites,
                version=after.version,
                applied=after != before,
                device_id=device.device_id,
                received_at=now_ms,
            )
        )


def of_owner(connection: Connection, owner_id: int) -> dict[Purpose, Consent]:
    """The owner's own standing decisions."""
    rows = connection.execute(select(consents).where(consents.c.owner_id == owner_id))
    return {Purpose(row.purpose): Consent(version=row.version, granted=row.granted) for row in rows}


def granted(connection: Connection, people: Collection[int]) -> dict[int, frozenset[Purpose]]:
    """The purposes that each of these people allows."""
    decided = select(owners.c.person_id, consents.c.purpose, consents.c.granted).join_from(owners, consents)
    votes: dict[tuple[int, Purpose], bool] = {}
    for person, purpose, allows in connection.execute(decided.where(owners.c.person_id.in_(sorted(people)))):
        votes[person, Purpose(purpose)] = votes.get((person, Purpose(purpose)), True) and allows
    return {
        person: frozenset(purpose for (voter, purpose), allows in votes.items() if allows and voter == person)
        for person in people
    }
