"""The verdict on every event of some requests, inside one transaction.

A key is judged once. Its verdict is stored with the key and answered again whenever the same event comes again, so
that a device that lost an answer learns what it would have learned.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.consent import Purpose
from contracts.events import Event, EventKey
from contracts.summary import HOUR_MS, summarize
from contracts.sync import SyncRequest, Verdict, VerdictKind
from contracts.windows import HourCounts, bucket_of
from sync_server import consents, devices, owner_events, profiles
from sync_server.bulk import insert_rows, rows_at
from sync_server.consent_history import Moment
from sync_server.consents import Allowed
from sync_server.devices import Device
from sync_server.erasure import ERASED
from sync_server.event_time import fix_time, round_trip
from sync_server.intervals import Range, holds
from sync_server.people import Owner, Speakers
from sync_server.permissions import Made, permitted
from sync_server.progress import Life
from sync_server.received import Received
from sync_server.tables import events, quarantine
from sync_server.turn import Turn

NO_CONSENT = f"the owner allows none of {', '.join(consents.KEEPING)}, or did not when it was made"
CONFLICT = "the key is held with another payload: renumber with the new epoch and send again"
FOREIGN = "the key is not this device's: use its own id and an epoch that was issued to it"


@dataclass(frozen=True)
class Batch:
    """The events of one request, each with its key if the device may use that."""

    device: Device
    request: SyncRequest
    received: Sequence[Received]
    own_keys: Sequence[EventKey | None]
    speakers: Speakers


def own_keys(device: Device, received: Iterable[Received]) -> list[EventKey | None]:
    """Each event's key if the device may use it: its own id, in an epoch that was issued to it."""
    mine, newest = device.device_id, device.epoch
    return [key if (key := one.key) and key.device_id == mine and 0 < key.epoch <= newest else None for one in received]


@dataclass(frozen=True)
class Answer:
    """What a key was answered with."""

    payload_hash: bytes
    verdict: VerdictKind
    reason: str
    owner_id: int | None  # of the event's owner, where the device may speak for it


def ingest(
    turn: Turn, batches: Sequence[Batch], allowed: Mapping[int, Allowed], settled: Mapping[Life, list[Range]]
) -> tuple[list[tuple[Verdict, ...]], profiles.Added]:
    """Judge events, keep those that may be kept, and add to the profiles what may enter them.

    Args:
        turn: the transaction.
        batches: of one device each.
        allowed: of every person that the batches' owners are.
        settled: what was received or dropped before, of every life in the batches: a key outside was never seen.

    Returns:
        for each batch one verdict per event, in their order; and what was added to profiles.
    """
    keys = [batch.own_keys for batch in batches]
    answers = _answers(turn, {key for some in keys for key in some if key}, settled)
    made = [_made(batch, answers, turn.now_ms) for batch in batches]
    permissions = iter(permitted(turn.connection, [one for some in made for one in some], allowed))
    rows: list[dict[str, Any]] = []
    keyless: dict[tuple[str, bytes], dict[str, Any]] = {}
    additions: dict[int, list[tuple[Event, int]]] = defaultdict(list)
    counts: dict[int, HourCounts] = defaultdict(Counter)
    verdicts: list[tuple[Verdict, ...]] = []
    for batch, own, times in zip(batches, keys, made, strict=True):
        found: list[Verdict] = []
        for position, (key, one, time) in enumerate(zip(own, batch.received, times, strict=True)):
            purposes = next(permissions)
            speaker = batch.speakers[one.owner] if one.owner else "the event names no owner"
            owner_id = speaker.id if isinstance(speaker, Owner) else None
            if key and key in answers:
                kind, reason = _again(turn, answers[key], one, owner_id)
            else:
                kind, reason = _first_time(key, one, speaker, time, purposes)
            found.append(Verdict(position=position, kind=kind, reason=reason))
            if key is None:
                if one.key is None:
                    row = _keyless_row(turn, batch.device, one)
                    keyless[batch.device.device_id, row["payload_hash"]] = row
                continue
            if key in answers:
                continue
            answers[key] = Answer(one.hash_under(turn.keys, turn.key_version), kind, reason, owner_id)
            row = _row(key, answers[key], turn.now_ms)
            kept = kind is not VerdictKind.REFUSED and not purposes.isdisjoint(consents.KEEPING)
            if kept and time and isinstance(speaker, Owner):
                profiled = Purpose.PERSONALIZATION in purposes
                row["payload"] = one.payload
                row |= {"occurred_ms": time.fixed.time_ms, "uncertain": time.fixed.uncertain, "profiled": profiled}
                if profiled and one.event:
                    hour = time.fixed.time_ms // HOUR_MS
                    additions[speaker.id].append((one.event, hour))
                    if bucket := bucket_of(one.event, hour):
                        counts[speaker.id][bucket] += 1
            rows.append(row)
        verdicts.append(tuple(found))
    rows.sort(key=lambda row: (row["device_id"], row["epoch"], row["seq"]))
    insert_rows(turn.connection, events, rows)
    owner_events.note(turn.connection, rows)
    insert_rows(turn.connection, quarantine, [keyless[key] for key in sorted(keyless)], "keep")
    return verdicts, profiles.add(turn, {owner: summarize(some) for owner, some in additions.items()}, counts)


def _made(batch: Batch, answered: Collection[EventKey], now_ms: int) -> list[Made | None]:
    """When each event was made; None where it was answered before, a device may not speak for its owner, or nobody
    knows.
    """
    request, round_trip_ms = batch.request, round_trip(batch.request, now_ms)
    found: list[Made | None] = []
    for key, received in zip(batch.own_keys, batch.received, strict=True):
        speaker, clocks = batch.speakers[received.owner] if received.owner else "", received.event or received.clocks
        if key is None or key in answered or clocks is None or not isinstance(speaker, Owner):
            found.append(None)
            continue
        known = devices.known(batch.device, key, now_ms)
        fixed = fix_time(clocks, request, round_trip_ms, now_ms, known)
        told_ms = known.earliest if fixed.uncertain else 0  # when the request before which its number comes was taken
        moment = Moment(fixed.cautious_ms, key.device_id, clocks.boot_id, clocks.uptime_ms, told_ms)
        found.append(Made(speaker.person_id, moment, fixed, speaker.bars(fixed)))
    return found


def _again(turn: Turn, answer: Answer, received: Received, owner_id: int | None) -> tuple[VerdictKind, str]:
    of_another = None not in (answer.owner_id, owner_id) and answer.owner_id != owner_id
    if of_another or not received.is_of(answer.payload_hash, turn.keys):
        return VerdictKind.CONFLICT, CONFLICT
    if answer.verdict is VerdictKind.ACCEPTED:
        return VerdictKind.DUPLICATE, ""
    return answer.verdict, answer.reason


def _first_time(
    key: EventKey | None, received: Received, speaker: Owner | str, made: Made | None, purposes: frozenset[Purpose]
) -> tuple[VerdictKind, str]:
    if key is None and received.key:
        return VerdictKind.REFUSED, FOREIGN
    if received.event is None:
        return VerdictKind.QUARANTINED, received.problem
    if isinstance(speaker, str):
        return VerdictKind.REFUSED, speaker
    if made and made.barred:
        return VerdictKind.REFUSED, ERASED
    if purposes.isdisjoint(consents.KEEPING):
        return VerdictKind.REFUSED, NO_CONSENT
    return VerdictKind.ACCEPTED, ""


def _answers(turn: Turn, keys: set[EventKey], settled: Mapping[Life, list[Range]]) -> dict[EventKey, Answer]:
    """What was answered before; only keys within settled ranges are looked up, and few are in a quiet hour."""
    known = sorted(key for key in keys if holds(settled[key.device_id, key.epoch], key.seq))
    names = ("device_id", "epoch", "seq")
    return {
        EventKey(row.device_id, row.epoch, row.seq): Answer(
            row.payload_hash, VerdictKind(row.verdict), row.reason, row.owner_id
        )
        for row in rows_at(turn.connection, events, names, [(key.device_id, key.epoch, key.seq) for key in known])
    }


def _row(key: EventKey, answer: Answer, now_ms: int) -> dict[str, Any]:
    return {
        "device_id": key.device_id,
        "epoch": key.epoch,
        "seq": key.seq,
        "payload_hash": answer.payload_hash,
        "verdict": answer.verdict.value,
        "reason": answer.reason,
        "owner_id": answer.owner_id,
        "occurred_ms": None,
        "uncertain": None,
        "profiled": None,
        "payload": None,
        "received_at": now_ms,
    }


def _keyless_row(turn: Turn, device: Device, received: Received) -> dict[str, Any]:
    return {
        "device_id": device.device_id,
        "payload_hash": received.hash_under(turn.keys, turn.key_version),
        "reason": received.problem,
        "received_at": turn.now_ms,
    }
