"""What people allowed at a moment of the past.

At any moment the decision of the highest version stood among those made by then. So a late opt-out ends a grant where
it was made, not where it arrived, and an opt-in opens nothing of what was before it. A person allowed a purpose if, of
the linked owners who had decided on it by then, at least one granted and none refused.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import NamedTuple

from sqlalchemy import Connection, Row, select

from contracts.consent import Purpose
from sync_server.tables import consent_facts, owners


class Moment(NamedTuple):
    """When something was made on a device.

    Attributes:
        time_ms: by the server's clock, see `sync_server.event_time`.
        device_id, boot_id, uptime_ms: the device's monotonic clock, which orders what it made within one boot exactly,
            however long each was under way.
        told_ms: what the device had told by then was decided before; 0 if that is not known. A device tells its
            decisions with every request, and numbers what it makes since higher.
    """

    time_ms: int
    device_id: str = ""
    boot_id: str = ""
    uptime_ms: int = 0
    told_ms: int = 0


class ConsentHistory:
    """Of one person."""

    def __init__(self, facts: Iterable[Row]) -> None:
        """
        Args:
            facts: rows of `consent_facts` of all the person's owners; those that never counted are passed over.
        """
        self._facts: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
        self._boots: set[tuple[str, str]] = set()
        for row in sorted(facts, key=lambda row: row.version):
            if row.applied:
                self._facts[row.purpose][row.owner_id].append(row)
                self._boots.add((row.device_id, row.boot_id))

    def same_boot(self, moment: Moment) -> bool:
        """Whether anything was decided within the same boot of the same device."""
        return (moment.device_id, moment.boot_id) in self._boots

    def allowed(self, moment: Moment) -> frozenset[Purpose]:
        """The purposes that the person allowed at a moment."""
        return self._allowed(moment, moment.time_ms)

    def allowed_through(self, first: Moment, last_ms: int) -> frozenset[Purpose]:
        """The purposes that the person allowed from a moment to another time, without a break.

        What the device had told before counts from the first moment on, unless it was made after the last.
        """
        decided = {fact.made_ms for by_owner in self._facts.values() for facts in by_owner.values() for fact in facts}
        times = [time_ms for time_ms in sorted({*decided, last_ms}) if first.time_ms < time_ms <= last_ms]
        found = self._allowed(first, last_ms)
        for time_ms in times:
            found &= self._allowed(first._replace(time_ms=time_ms), last_ms)
        return found

    def _allowed(self, moment: Moment, last_ms: int) -> frozenset[Purpose]:
        return frozenset(
            Purpose(purpose) for purpose, by_owner in self._facts.items() if _allowed(by_owner, moment, last_ms)
        )


def histories(connection: Connection, people: Collection[int]) -> dict[int, ConsentHistory]:
    """The history of each of some persons."""
    if not people:
        return {}
    found: dict[int, list[Row]] = {person: [] for person in people}
    chosen = select(owners.c.person_id, consent_facts).join_from(owners, consent_facts)
    for row in connection.execute(chosen.where(owners.c.person_id.in_(sorted(people)))):
        found[row.person_id].append(row)
    return {person: ConsentHistory(facts) for person, facts in found.items()}


def _allowed(by_owner: dict[int, list[Row]], moment: Moment, last_ms: int) -> bool:
    votes = [
        stood.granted
        for facts in by_owner.values()
        if (stood := next((fact for fact in reversed(facts) if _made_by(fact, moment, last_ms)), None)) is not None
    ]
    return bool(votes) and all(votes)


def _made_by(fact: Row, moment: Moment, last_ms: int) -> bool:
    """Whether a decision was made before a moment, or at it."""
    if (fact.device_id, fact.boot_id) == (moment.device_id, moment.boot_id) and moment.boot_id and moment.device_id:
        return bool(fact.uptime_ms <= moment.uptime_ms)
    told = fact.device_id == moment.device_id and fact.received_at <= moment.told_ms
    return bool(fact.made_ms <= (last_ms if told else moment.time_ms))
