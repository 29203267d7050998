"""The verdict on every event of a request, inside one transaction.

A key is judged once. Its verdict is stored with the key and answered again whenever the same event comes again, so
that a device that lost an answer learns what it would have learned.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from sqlalchemy import Connection, insert, select

from contracts.consent import Purpose
from contracts.events import EventKey
from contracts.summary import HOUR_MS, Summary, merge, summary_of
from contracts.sync import SyncRequest, Verdict, VerdictKind
from sync_server import consents, people, profiles
from sync_server.devices import Device
from sync_server.event_time import fix_time
from sync_server.people import Owner
from sync_server.received import Received
from sync_server.sql_store import insert_missing
from sync_server.tables import events, quarantine

NO_CONSENT = f"the owner allows none of {', '.join(consents.KEEPING)}"
CONFLICT = "the key is held with another payload: renumber with the new epoch and send again"
FOREIGN = "the key is not this device's: use its own id and an epoch that was issued to it"


@dataclass(frozen=True)
class Answer:
    """What a key was answered with."""

    payload_hash: bytes
    verdict: VerdictKind
    reason: str


def own_key(device: Device, received: Received) -> EventKey | None:
    """The event's key if this device may use it: its own id, in an epoch that was issued to it."""
    key = received.key
    return key if key and key.device_id == device.device_id and 0 < key.epoch <= device.epoch else None


def ingest(
    connection: Connection,
    device: Device,
    request: SyncRequest,
    received: Sequence[Received],
    stamp: int,
    now_ms: int,
) -> tuple[Verdict, ...]:
    """Judge events, keep those that may be kept, and add to the profiles what may enter them.

    Returns:
        one verdict per event, in their order.
    """
    keys = [own_key(device, one) for one in received]
    answers = _answers(connection, device, {key for key in keys if key})
    speakers = people.speaks_for(connection, device, {one.owner for one in received if one.owner}, stamp, now_ms)
    allowed = consents.granted(connection, {who.person_id for who in speakers.values() if isinstance(who, Owner)})

    verdicts: list[Verdict] = []
    rows: list[dict[str, Any]] = []
    additions: dict[int, list[Summary]] = defaultdict(list)
    for position, (key, one) in enumerate(zip(keys, received, strict=True)):
        speaker = speakers[one.owner] if one.owner else "the event names no owner"
        purposes = allowed[speaker.person_id] if isinstance(speaker, Owner) else frozenset[Purpose]()
        if key and key in answers:
            kind, reason = _again(answers[key], one)
        else:
            kind, reason = _first_time(key, one, speaker, purposes)
        verdicts.append(Verdict(position=position, kind=kind, reason=reason))
        if key is None or key in answers:
            continue
        answers[key] = Answer(one.payload_hash, kind, reason)
        row = _row(key, one, kind, reason, now_ms)
        if purposes.intersection(consents.KEEPING) and kind is not VerdictKind.REFUSED:
            row["payload"] = one.payload
        if kind is VerdictKind.ACCEPTED and one.event and isinstance(speaker, Owner):
            occurred_ms, uncertain = fix_time(one.event, request, now_ms)
            profiled = Purpose.PERSONALIZATION in purposes
            row |= {"owner_id": speaker.id, "occurred_ms": occurred_ms, "uncertain": uncertain, "profiled": profiled}
            if profiled:
                additions[speaker.id].append(summary_of(one.event, occurred_ms // HOUR_MS))
        rows.append(row)
    if rows:
        connection.execute(insert(events), sorted(rows, key=lambda row: (row["epoch"], row["seq"])))
    keyless = [_keyless_row(device, one, now_ms) for one in received if one.key is None]
    insert_missing(connection, quarantine, keyless)
    profiles.add(connection, {owner_id: reduce(merge, parts) for owner_id, parts in additions.items()}, stamp)
    return tuple(verdicts)


def _again(answer: Answer, received: Received) -> tuple[VerdictKind, str]:
    if answer.payload_hash != received.payload_hash:
        return VerdictKind.CONFLICT, CONFLICT
    if answer.verdict is VerdictKind.ACCEPTED:
        return VerdictKind.DUPLICATE, ""
    return answer.verdict, answer.reason


def _first_time(
    key: EventKey | None, received: Received, speaker: Owner | str, purposes: frozenset[Purpose]
) -> tuple[VerdictKind, str]:
    if key is None and received.key:
        return VerdictKind.REFUSED, FOREIGN
    if received.event is None:
        return VerdictKind.QUARANTINED, received.problem
    if isinstance(speaker, str):
        return VerdictKind.REFUSED, speaker
    if not purposes.intersection(consents.KEEPING):
        return VerdictKind.REFUSED, NO_CONSENT
    return VerdictKind.ACCEPTED, ""


def _answers(connection: Connection, device: Device, keys: set[EventKey]) -> dict[EventKey, Answer]:
    numbers: dict[int, list[int]] = defaultdict(list)
    for key in keys:
        numbers[key.epoch].append(key.seq)
    answers: dict[EventKey, Answer] = {}
    for epoch, seqs in numbers.items():
        mine = (events.c.device_id == device.device_id, events.c.epoch == epoch, events.c.seq.in_(sorted(seqs)))
        columns = (events.c.seq, events.c.payload_hash, events.c.verdict, events.c.reason)
        for row in connection.execute(select(*columns).where(*mine)):
            key = EventKey(device.device_id, epoch, row.seq)
            answers[key] = Answer(row.payload_hash, VerdictKind(row.verdict), row.reason)
    return answers


def _row(key: EventKey, received: Received, kind: VerdictKind, reason: str, now_ms: int) -> dict[str, Any]:
    return {
        "device_id": key.device_id,
        "epoch": key.epoch,
        "seq": key.seq,
        "payload_hash": received.payload_hash,
        "verdict": kind,
        "reason": reason,
        "owner_id": None,
        "occurred_ms": None,
        "uncertain": None,
        "profiled": None,
        "payload": None,
        "received_at": now_ms,
    }


def _keyless_row(device: Device, received: Received, now_ms: int) -> dict[str, Any]:
    return {
        "device_id": device.device_id,
        "payload_hash": received.payload_hash,
        "reason": received.problem,
        "received_at": now_ms,
    }
