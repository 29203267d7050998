"""What may be done with each event: what its person allows now, and allowed when it was made."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from contracts.consent import Purpose
from sync_server.consent_history import Moment, histories
from sync_server.consents import Allowed
from sync_server.event_time import MAX_ROUND_TRIP_MS, Fixed

NOTHING: frozenset[Purpose] = frozenset()


class Made(NamedTuple):
    """Who made an event, and when."""

    person_id: int
    moment: Moment  # its time is the cautious one
    fixed: Fixed
    barred: bool  # whether its owner was erased after that


def permitted(
    connection: Connection, made: Sequence[Made | None], allowed: Mapping[int, Allowed]
) -> list[frozenset[Purpose]]:
    """The purposes that each event may serve.

    Most events were surely made since their persons' decisions. Only where one was not, what was decided before is
    read, in one statement for all.

    Args:
        connection: to the store.
        made: None for an event that may serve none.
        allowed: of all these persons.
    """
    now = {person: frozenset(purposes) for person, purposes in allowed.items()}
    since = {person: max(purposes.values(), default=0) for person, purposes in allowed.items()}
    unsure = {
        one.person_id
        for one in made
        if one
        and now[one.person_id]
        and (one.fixed.uncertain or one.moment.time_ms < since[one.person_id] + MAX_ROUND_TRIP_MS)
    }
    before = histories(connection, unsure)

    def purposes(one: Made) -> frozenset[Purpose]:
        history = before.get(one.person_id)
        if one.barred or not now[one.person_id]:
            return NOTHING
        if history is None or (one.moment.time_ms >= since[one.person_id] and not history.same_boot(one.moment)):
            return now[one.person_id]
        return now[one.person_id] & history.allowed_through(one.moment, one.fixed.time_ms)

    return [NOTHING if one is None else purposes(one) for one in made]
