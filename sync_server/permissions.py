"""What may be done with each event: what its person allows now, and allowed when it was made."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from contracts.consent import Purpose
from sync_server.consent_history import Moment, histories
from sync_server.consents import Allowed

NOTHING: frozenset[Purpose] = frozenset()


class Made(NamedTuple):
    """Who made an event, and when."""

    person_id: int
    moment: Moment
    uncertain: bool  # whether the moment rests on a wall clock
    barred: bool  # whether its owner was erased after that


def permitted(
    connection: Connection, made: Sequence[Made | None], allowed: Mapping[int, Allowed]
) -> list[frozenset[Purpose]]:
    """The purposes that each event may serve.

    Most events were made since their persons' decisions: only where one was not, what was decided before is read, in
    one statement for all.

    Args:
        connection: to the store.
        made: None for an event that may serve none.
        allowed: of all these persons.
    """
    now = {person: frozenset(purposes) for person, purposes in allowed.items()}
    settled_ms = {person: max(since.values(), default=0) for person, since in allowed.items()}
    earlier = {
        one.person_id for one in made if one and now[one.person_id] and one.moment.time_ms < settled_ms[one.person_id]
    }
    before = histories(connection, earlier)
    return [
        NOTHING
        if one is None or one.barred
        else now[one.person_id]
        if one.moment.time_ms >= settled_ms[one.person_id]
        else now[one.person_id] & before[one.person_id].allowed(one.moment)
        if one.person_id in before
        else NOTHING
        for one in made
    ]
