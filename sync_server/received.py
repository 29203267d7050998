"""Events as they come over the wire, each read by itself so that one that is malformed is set aside alone."""

import hashlib
from dataclasses import dataclass

import msgspec

from contracts.codec import decode, encode
from contracts.errors import WireError
from contracts.events import Count, Event, EventKey, Identity
from contracts.identity import owner_kind
from sync_server.event_time import Clocks

MAX_LINE_AMOUNT = 2**53  # minor units of an order line: the integers that JSON readers keep exact


class _Envelope(msgspec.Struct, frozen=True):
    """The least that a malformed event must show to be remembered by its key."""

    device_id: Identity
    epoch: Count
    seq: Count
    owner: object = None


@dataclass(frozen=True)
class Received:
    payload: bytes | None  # JSON without the owner, canonical where the event is well formed; None if unreadable
    payload_hash: bytes  # SHA-256 of the payload, or of what was sent where that is unreadable
    key: EventKey | None
    owner: str | None
    event: Event | None
    problem: str = ""  # why there is no event
    clocks: Clocks | None = None  # those of an event that is none, where they can be read


def payload_hash(event: Event) -> bytes:
    """What, beside their owners, tells two events with the same key apart: SHA-256 of the event at rest."""
    return _sha256(at_rest(event))


def at_rest(event: Event) -> bytes:
    """An event's canonical JSON without its owner, whose identifier is never written down."""
    return encode(msgspec.structs.replace(event, owner=msgspec.UNSET))


def from_rest(payload: bytes, owner: str) -> Event:
    """The event that `at_rest` made a payload of.

    Raises:
        WireError: if the payload is of no event that this version knows.
    """
    try:
        return msgspec.convert(msgspec.json.decode(payload) | {"owner": owner}, Event)
    except (msgspec.DecodeError, TypeError) as error:
        raise WireError(f"not a valid event at rest: {error}") from None


def read_event(raw: msgspec.Raw, format: str) -> Received:
    """Decode one event; what cannot be used comes back with its problem, and with what of its key can be read."""
    try:
        event = decode(raw, Event, format)
        owner_kind(event.owner)
        if event.price and abs(event.price.amount) * event.quantity > MAX_LINE_AMOUNT:
            raise WireError(f"price x quantity is above {MAX_LINE_AMOUNT} minor units: send the price of one piece")
    except WireError as error:
        return _malformed(raw, format, str(error))
    payload = at_rest(event)
    return Received(payload, _sha256(payload), event.key, event.owner, event)


def _malformed(raw: msgspec.Raw, format: str, problem: str) -> Received:
    sent = bytes(raw)
    try:
        envelope = decode(raw, _Envelope, format)
    except WireError:
        return Received(None, _sha256(sent), None, None, None, problem)
    payload = _without_owner(raw, format)
    digest = _sha256(sent if payload is None else payload)
    key = EventKey(envelope.device_id, envelope.epoch, envelope.seq)
    try:
        owner_kind(str(envelope.owner))
    except WireError:
        return Received(payload, digest, key, None, None, problem)
    return Received(payload, digest, key, str(envelope.owner), None, problem, _clocks(raw, format))


def _clocks(raw: msgspec.Raw, format: str) -> Clocks | None:
    try:
        return decode(raw, Clocks, format)
    except WireError:
        return None


def _without_owner(raw: msgspec.Raw, format: str) -> bytes | None:
    """What was sent as JSON without its owner, None if it cannot be told apart from the rest or written as JSON."""
    try:
        fields = decode(raw, dict[str, object], format)
        fields.pop("owner", None)
        return encode(fields)
    except (WireError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
