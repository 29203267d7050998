"""Events as they come over the wire, each read by itself so that one that is malformed is set aside alone."""

import hashlib
from dataclasses import dataclass

import msgspec

from contracts.codec import decode, encode
from contracts.errors import WireError
from contracts.events import Count, Event, EventKey, Identity
from contracts.identity import owner_kind

MAX_LINE_AMOUNT = 2**53  # minor units of an order line: the integers that JSON readers keep exact


class _Envelope(msgspec.Struct, frozen=True):
    """The least that a malformed event must show to be remembered by its key."""

    device_id: Identity
    epoch: Count
    seq: Count
    owner: object = None


@dataclass(frozen=True)
class Received:
    payload: bytes  # canonical where the event is well formed, else as sent
    payload_hash: bytes  # SHA-256 of the payload
    key: EventKey | None
    owner: str | None
    event: Event | None
    problem: str = ""  # why there is no event


def payload_hash(event: Event) -> bytes:
    """What tells two events with the same key apart: SHA-256 of the event's canonical JSON."""
    return _sha256(encode(event))


def read_event(raw: msgspec.Raw, format: str) -> Received:
    """Decode one event; what cannot be used comes back with its problem, and with what of its key can be read."""
    try:
        event = decode(raw, Event, format)
        owner_kind(event.owner)
        if event.price and abs(event.price.amount) * event.quantity > MAX_LINE_AMOUNT:
            raise WireError(f"price x quantity is above {MAX_LINE_AMOUNT} minor units: send the price of one piece")
    except WireError as error:
        return _malformed(raw, format, str(error))
    payload = encode(event)
    return Received(payload, _sha256(payload), event.key, event.owner, event)


def _malformed(raw: msgspec.Raw, format: str, problem: str) -> Received:
    sent = bytes(raw)
    try:
        envelope = decode(raw, _Envelope, format)
    except WireError:
        return Received(sent, _sha256(sent), None, None, None, problem)
    key = EventKey(envelope.device_id, envelope.epoch, envelope.seq)
    try:
        owner_kind(str(envelope.owner))
    except WireError:
        return Received(sent, _sha256(sent), key, None, None, problem)
    return Received(sent, _sha256(sent), key, str(envelope.owner), None, problem)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
