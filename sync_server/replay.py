"""Events that were set aside when they came are judged again by what the server knows now.

An app may be newer than its server: events of a type that the server does not know are quarantined, and kept where
their person allows that. After an update they are judged once more (`pocketrec replay`, or `python -m sync_server
--settings FILE replay`). One that is understood now is accepted as if it had been when it came: with the time that was
fixed then, the purposes that it could serve then, and the same hash at rest (see `sync_server.received`), so that a
device that sends it again is told `duplicate`. All others stay as they are: what is still malformed, and what belongs
to people who allow nothing by now, which the next replay looks at again. Of the erased nothing is left to be judged.

Each batch is a transaction, in which a row is judged that is quarantined then: so a replay may be cut off, repeated, or
run twice at once beside servers, and every event still counts once.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, tuple_

from contracts.errors import WireError
from contracts.events import Event
from contracts.identity import OwnerKind
from contracts.summary import HOUR_MS, summarize
from contracts.sync import VerdictKind
from contracts.windows import HourCounts, bucket_of
from sync_server import audit_log, consents, profiles
from sync_server.bulk import update_rows
from sync_server.received import from_rest
from sync_server.recovery import ready_store
from sync_server.settings import ServerSettings
from sync_server.store import Store
from sync_server.tables import QUARANTINED, events, owners
from sync_server.turn import Turn, take_turn

EVENTS_TOGETHER = 1_000  # of one transaction: some 50 ms, so that no sync waits long
_ORDER = (events.c.received_at, events.c.device_id, events.c.epoch, events.c.seq)
_SOMEBODY = f"{OwnerKind.ANONYMOUS}:"  # stands for the owner, whose name is nowhere: the row knows who it is


@dataclass(frozen=True)
class Replayed:
    """Attributes:
    accepted: events that count from now on.
    held: events that are kept, and still wait for a server that knows them or for their persons' consent.
    """

    accepted: int
    held: int


def replay_held(settings: ServerSettings) -> Replayed:
    """Open the store that a server's settings name, and judge again what is held; servers may run beside it.

    Raises:
        ConfigError: if there is no such store, or the keys are not its own.
    """
    with ready_store(settings) as store:
        return replay(store)


def replay(store: Store) -> Replayed:
    """Judge all events that are held, in the order in which they came."""
    accepted = held = 0
    last: tuple[Any, ...] = (-1, "", 0, 0)
    while True:
        with take_turn(store) as turn:
            rows = _held_after(turn.connection, last)
            understood = _understood(turn.connection, rows)
            _accept(turn, understood)
        accepted, held = accepted + len(understood), held + len(rows) - len(understood)
        if len(rows) < EVENTS_TOGETHER:
            return Replayed(accepted, held)
        last = (rows[-1].received_at, rows[-1].device_id, rows[-1].epoch, rows[-1].seq)


def _held_after(connection: Connection, last: tuple[Any, ...]) -> Sequence[Row]:
    kept = QUARANTINED, events.c.payload.is_not(None), events.c.owner_id.is_not(None)
    chosen = select(events).where(*kept, events.c.received_at >= last[0], tuple_(*_ORDER) > last)
    return connection.execute(chosen.order_by(*_ORDER).limit(EVENTS_TOGETHER)).all()


def _understood(connection: Connection, rows: Sequence[Row]) -> list[tuple[Row, Event]]:
    """The events that this version can read, of people who allow that they are kept."""
    read: list[tuple[Row, Event]] = []
    for row in rows:
        try:
            read.append((row, from_rest(row.payload, _SOMEBODY + str(row.owner_id))))
        except WireError:
            continue
    willing = _willing(connection, {row.owner_id for row, _ in read})
    return [(row, event) for row, event in read if row.owner_id in willing]


def _willing(connection: Connection, owner_ids: Collection[int]) -> set[int]:
    chosen = select(owners.c.id, owners.c.person_id).where(owners.c.id.in_(sorted(owner_ids)))
    persons: Mapping[int, int] = dict(connection.execute(chosen).tuples().all()) if owner_ids else {}
    allowed = consents.granted(connection, set(persons.values()))
    return {owner for owner, person in persons.items() if allowed[person].keys() & set(consents.KEEPING)}


def _accept(turn: Turn, understood: Sequence[tuple[Row, Event]]) -> None:
    additions: dict[int, list[tuple[Event, int]]] = defaultdict(list)
    counts: dict[int, HourCounts] = defaultdict(Counter)
    changed = []
    for row, event in understood:
        key = {"device_id": row.device_id, "epoch": row.epoch, "seq": row.seq}
        changed.append(key | {"verdict": VerdictKind.ACCEPTED.value, "reason": ""})
        if row.profiled:
            hour = row.occurred_ms // HOUR_MS
            additions[row.owner_id].append((event, hour))
            if bucket := bucket_of(event, hour):
                counts[row.owner_id][bucket] += 1
    if changed:
        update_rows(
            turn.connection, events, sorted(changed, key=lambda one: (one["device_id"], one["epoch"], one["seq"]))
        )
        profiles.add(turn, {owner: summarize(some) for owner, some in additions.items()}, counts)
        audit_log.record(turn, "operator", "replay", "", {"events": len(changed)})
