"""The event log that models are trained on: of people who allow it now, what they allowed it for when it was made.

It is written in two steps. `collect` reads one moment of the store, which may take long, and people go on deciding
meanwhile. `publish` then takes everybody out again who was erased or opted out since, in a transaction during which
nobody can: when the file appears, it holds nobody who does not allow it.
"""

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from sqlalchemy import Connection, select

from contracts.consent import Purpose
from contracts.sync import VerdictKind
from sync_server import audit_log, consents, owner_events
from sync_server.consent_history import Moment, histories
from sync_server.store import Store
from sync_server.tables import owners
from sync_server.turn import take_turn

COLUMNS = ("person", "item_id", "type", "time_ms", "order_id", "quantity", "amount", "currency")
"""Of the file: `person` is a random handle, `time_ms` milliseconds since 1970, `amount` minor units of one piece."""
PEOPLE_AT_ONCE = 500


@dataclass(frozen=True)
class Draft:
    """What was collected, not to be used yet."""

    path: Path
    people: Mapping[str, int]  # by handle, those in it


def collect(store: Store, path: Path) -> Draft:
    """Write the log as of one moment to a draft beside `path`."""
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)  # of an export that was cut off
    people: dict[str, int] = {}
    with store.read() as connection, open(draft, "w", newline="", opener=_for_its_owner_alone) as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        everybody = connection.execute(select(owners.c.person_id).distinct().order_by(owners.c.person_id)).scalars()
        for some in _groups(list(everybody)):
            for handle, person_id, rows in _rows(connection, some):
                people[handle] = person_id
                writer.writerows(rows)
    return Draft(draft, people)


def publish(store: Store, draft: Draft, path: Path, actor: str) -> int:
    """Put the file in its place, without those who were erased or opted out meanwhile; returns how many are in it."""
    with take_turn(store) as turn:
        allowed = consents.granted(turn.connection, set(draft.people.values()))
        held = dict(turn.connection.execute(select(owners.c.handle, owners.c.person_id)).all())
        stay = {
            handle
            for handle, person_id in draft.people.items()
            if held.get(handle) == person_id and Purpose.MODEL_TRAINING in allowed[person_id]
        }
        if stay != draft.people.keys():
            _keep_only(draft.path, stay)
        audit_log.record(turn, actor, "export_for_training", "", {"people": len(stay)})
        draft.path.replace(path)
    return len(stay)


def _groups(people: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(people), PEOPLE_AT_ONCE):
        yield people[start : start + PEOPLE_AT_ONCE]


def _rows(connection: Connection, people: list[int]) -> Iterator[tuple[str, int, list[list[object]]]]:
    """Handle, person and rows of each person who allows it."""
    allowed = consents.granted(connection, people)
    willing = [person for person in people if Purpose.MODEL_TRAINING in allowed[person]]
    before = histories(connection, willing)
    members = connection.execute(select(owners).where(owners.c.person_id.in_(willing))).all()
    person_of = {row.id: row.person_id for row in members}
    found: dict[int, list[list[object]]] = {person: [] for person in willing}
    handles = {row.id: row.handle for row in members}
    for row in owner_events.of_owners(connection, list(person_of)):
        person = person_of[row.owner_id]
        if row.verdict != VerdictKind.ACCEPTED or row.payload is None:
            continue
        event = msgspec.json.decode(row.payload)
        moment = Moment(row.occurred_ms, row.device_id, event.get("boot_id", ""), event.get("uptime_ms", 0))
        if Purpose.MODEL_TRAINING in before[person].allowed(moment):
            price = event.get("price") or {}
            found[person].append(
                [
                    handles[person],
                    event.get("item_id"),
                    event["type"],
                    row.occurred_ms,
                    event.get("order_id"),
                    event.get("quantity", 1),
                    price.get("amount"),
                    price.get("currency"),
                ]
            )
    for person, rows in found.items():
        yield handles[person], person, rows


def _for_its_owner_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _keep_only(path: Path, handles: set[str]) -> None:
    shorter = path.with_name(f"{path.name}.shorter")
    with path.open(newline="") as source, open(shorter, "w", newline="", opener=_for_its_owner_alone) as target:
        reader, writer = csv.reader(source), csv.writer(target)
        writer.writerow(next(reader))
        writer.writerows(row for row in reader if row[0] in handles)
    shorter.replace(path)
