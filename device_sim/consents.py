"""Decisions about consent that the server has not confirmed yet: they travel first and with every request."""

from collections.abc import Collection
from functools import reduce

from contracts import codec
from contracts.consent import Consent, ConsentFact, Purpose, decide
from contracts.sync import MAX_CONSENTS
from device_sim.database import Database


class ConsentQueue:
    """Facts in the order of their making; sending one twice changes nothing, so they stay until an answer came."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, fact: ConsentFact) -> None:
        with self._database.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO consent_facts VALUES (?, ?)", (fact.fact_id, codec.encode(fact)))

    def standing(self, owner: str, purpose: Purpose, received: Consent) -> Consent:
        """The decision that stands once the server has taken all that is queued.

        Args:
            owner: whose.
            purpose: for what.
            received: the decision that stands on the server, as last received.
        """
        rows = self._database.connection.execute("SELECT payload FROM consent_facts ORDER BY rowid")
        facts = (codec.decode(payload, ConsentFact) for (payload,) in rows)
        return reduce(decide, (fact for fact in facts if (fact.owner, fact.purpose) == (owner, purpose)), received)

    def pending(self, limit: int = MAX_CONSENTS) -> tuple[ConsentFact, ...]:
        rows = self._database.connection.execute("SELECT payload FROM consent_facts ORDER BY rowid LIMIT ?", (limit,))
        return tuple(codec.decode(payload, ConsentFact) for (payload,) in rows)

    def give_up(self, owners: Collection[str]) -> None:
        """Forget the decisions of some owners."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT fact_id, payload FROM consent_facts").fetchall()
            gone = [(fact_id,) for fact_id, payload in rows if codec.decode(payload, ConsentFact).owner in owners]
            connection.executemany("DELETE FROM consent_facts WHERE fact_id = ?", gone)

    def confirm(self, facts: tuple[ConsentFact, ...]) -> None:
        """Forget facts that the server has taken; to be called inside the transaction that takes its answer."""
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM consent_facts WHERE fact_id = ?", [(fact.fact_id,) for fact in facts])
