"""Events as they come over the wire, each read by itself so that one that cannot be used is set aside alone.

Two events are the same if they are so *at rest*: as JSON without the owner and without fields that are at their
defaults, the fields of `Event` first, in its order, all others by name. That says the same of an event whether or not
this version knows its type and its fields, so that what was held for a later version is still the same event there.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from contracts.codec import decode, encode
from contracts.errors import WireError
from contracts.events import Count, Event, EventKey, Identity
from contracts.identity import owner_kind
from sync_server.event_time import Clocks
from sync_server.identifiers import IdentifierKeys

MAX_LINE_AMOUNT = 2**53  # minor units of an order line: the integers that JSON readers keep exact
NEWER = "the type or a field of the price is none that this version knows: held for one that does"
UNREADABLE = "malformed: no JSON or MessagePack, or cut short"
DAMAGED = "pocketrec.damaged"  # the field with which `sync_server.damaged` hands over what nothing can decode
_NEWER = ("Invalid enum value", "Object contains unknown field")  # msgspec's words, which quote what was sent
_PLACES = {field.name: place for place, field in enumerate(msgspec.structs.fields(Event))}
_DEFAULTS: dict[str, Any] = {
    field.name: field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    for field in msgspec.structs.fields(Event)
}


class _Known(Event, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An event with no field that this version does not know: as nearly all are."""


class _Envelope(msgspec.Struct, frozen=True):
    """The least that a malformed event must show to be remembered by its key."""

    device_id: Identity
    epoch: Count
    seq: Count
    owner: object = None


class _Damaged(msgspec.Struct, frozen=True):
    sent: bytes = msgspec.field(name=DAMAGED)


@dataclass(frozen=True)
class Received:
    payload: bytes | None  # the event at rest; None if it cannot be read
    payload_hash: bytes  # SHA-256 of the payload; empty where there is none
    key: EventKey | None
    owner: str | None
    event: Event | None
    problem: str = ""  # why there is no event; quotes nothing of it
    clocks: Clocks | None = None  # those of an event that is none, where they can be read
    sent: bytes = b""  # as it came, where there is no payload: it may name somebody, and is never written down

    def hash_under(self, keys: IdentifierKeys, version: int) -> bytes:
        """What tells the event from others under its key; of what cannot be read, only whoever has the keys can."""
        return self.payload_hash or keys.seal(version, self.sent)

    def is_of(self, payload_hash: bytes, keys: IdentifierKeys) -> bool:
        """Whether a hash, made under any of the live keys, is this event's."""
        if self.payload_hash:
            return self.payload_hash == payload_hash
        return any(keys.seal(version, self.sent) == payload_hash for version in keys)


def payload_hash(event: Event) -> bytes:
    """What, beside their owners, tells two events with the same key apart: SHA-256 of the event at rest."""
    return _sha256(at_rest(event))


def at_rest(event: Event) -> bytes:
    """An event's canonical JSON without its owner, whose identifier is never written down."""
    return encode(msgspec.structs.replace(event, owner=msgspec.UNSET))


def fields_at_rest(fields: dict[str, Any]) -> bytes:
    """The same of the fields of any event, also of one that this version does not know.

    Raises:
        TypeError, ValueError, OverflowError, RecursionError: if JSON cannot hold them.
    """
    said = {name: value for name, value in fields.items() if name != "owner" and value != _DEFAULTS.get(name)}
    order = sorted(said, key=lambda name: (_PLACES.get(name, len(_PLACES)), name))
    return msgspec.json.encode({name: msgspec.Raw(encode(said[name])) for name in order})


def from_rest(payload: bytes, owner: str) -> Event:
    """The event that a payload was made of.

    Raises:
        WireError: if the payload is of no event that this version knows.
    """
    try:
        return _checked(msgspec.convert(msgspec.json.decode(payload) | {"owner": owner}, Event))
    except (msgspec.DecodeError, TypeError) as error:
        raise WireError(f"not a valid event at rest: {error}") from None


def read_event(raw: msgspec.Raw, format: str) -> Received:
    """Decode one event; what cannot be used comes back with its problem, and with what of its key can be read."""
    try:
        event = _checked(decode(raw, _Known, format))
    except WireError:
        return _other(raw, format)
    payload = at_rest(event)
    return Received(payload, _sha256(payload), event.key, event.owner, event)


def _checked(event: Event) -> Event:
    owner_kind(event.owner)
    if event.price and abs(event.price.amount) * event.quantity > MAX_LINE_AMOUNT:
        raise WireError(f"price x quantity is above {MAX_LINE_AMOUNT} minor units: send the price of one piece")
    return event


def _other(raw: msgspec.Raw, format: str) -> Received:
    """An event with fields that this version does not know, or none."""
    payload = _payload(raw, format)
    try:
        event = _checked(decode(raw, Event, format))
    except WireError as error:
        return _malformed(raw, format, payload, _without_quotes(str(error)))
    payload = payload or at_rest(event)
    return Received(payload, _sha256(payload), event.key, event.owner, event)


def _malformed(raw: msgspec.Raw, format: str, payload: bytes | None, problem: str) -> Received:
    sent = b"" if payload else bytes(raw)
    damage = _damage(raw, format)
    if damage:
        payload, (sent, problem) = None, damage
    digest = _sha256(payload) if payload else b""
    try:
        envelope = decode(raw, _Envelope, format)
    except WireError:
        return Received(None, b"", None, None, None, problem, sent=sent or bytes(raw))
    key = EventKey(envelope.device_id, envelope.epoch, envelope.seq)
    try:
        owner_kind(str(envelope.owner))
    except WireError:
        return Received(payload, digest, key, None, None, problem, sent=sent)
    return Received(payload, digest, key, str(envelope.owner), None, problem, _clocks(raw, format), sent)


def _damage(raw: msgspec.Raw, format: str) -> tuple[bytes, str] | None:
    """What `sync_server.damaged` handed over as it came, and why nothing can decode it; None of any other event."""
    try:
        sent = decode(raw, _Damaged, format).sent
    except WireError:
        return None
    try:
        decode(sent, msgspec.Raw, format)
    except WireError as error:
        return sent, str(error)
    return sent, UNREADABLE


def _without_quotes(problem: str) -> str:
    return NEWER if any(words in problem for words in _NEWER) else problem


def _clocks(raw: msgspec.Raw, format: str) -> Clocks | None:
    try:
        return decode(raw, Clocks, format)
    except WireError:
        return None


def _payload(raw: msgspec.Raw, format: str) -> bytes | None:
    """What was sent, at rest; None if its owner cannot be told apart from the rest, or JSON cannot hold it."""
    try:
        return fields_at_rest(decode(raw, dict[str, object], format))
    except (WireError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
