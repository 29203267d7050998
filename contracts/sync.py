"""One request does a whole sync: `POST /v1/sync` with a `SyncRequest`, answered by a `SyncResponse`.

A device is enrolled first with `POST /v1/devices`. Every later request is signed with the device's own Ed25519 key:
the header `Authorization: PocketrecDevice <device_id>.<challenge>.<base64url signature>` signs `signed_bytes`, among
them the body as sent, after compression. The challenge is the newest that the server gave: every answer to a device
carries the next one in the header `Pocketrec-Challenge`, a 401 too: sign again with that. A server that asks for a
platform's attestation answers an enrolment without one in the same way: attest that challenge and enrol again. An
answer is in the request's format wherever that can hold it: read it by its own content type. A `Problem` is always
JSON; a 429 says in `Retry-After` when to come back.
"""

from enum import StrEnum
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.consent import Consent, ConsentFact, Purpose
from contracts.events import Count, EventType, Identity
from contracts.identity import DeviceRole
from contracts.rounds import RoundTask
from contracts.summary import Activity, OrderLine
from contracts.windows import HourCount

SIGNATURE_SCHEME = "PocketrecDevice"
CHALLENGE_HEADER = "Pocketrec-Challenge"
MAX_EVENTS = 500  # events of one request
MAX_KNOWN_OWNERS = 64
MAX_BODY_BYTES = 4 * 2**20  # as sent
MAX_DECODED_BYTES = 16 * 2**20  # after decompression
MAX_RANGES = 10_000  # held, and dropped, of one request; the lowest first
MAX_TOKENS = 8  # identity tokens of one request
MAX_CONSENTS = 64  # decisions of one request
SEND_ORDER: tuple[EventType, ...] = (  # what a device with little network sends first; consent always travels
    EventType.PURCHASE,
    EventType.REFUND,
    EventType.ADD_TO_CART,
    EventType.REMOVE_FROM_CART,
    EventType.RECOMMENDATION_TAPPED,
    EventType.VIEW,
    EventType.SEARCH,
    EventType.RECOMMENDATION_SHOWN,
    EventType.IMPRESSION,
)


def signed_bytes(method: str, path: str, challenge: str, body: bytes) -> bytes:
    """What a device's signature covers.

    Args:
        method: such as POST.
        path: of the address, without a query.
        challenge: the newest that the server gave to the device.
        body: as sent, after compression.
    """
    return "\n".join((SIGNATURE_SCHEME, method, path, challenge, sha256(body).hexdigest())).encode()


class EnrolRequest(msgspec.Struct, frozen=True, kw_only=True):
    public_key: Annotated[bytes, Meta(min_length=32, max_length=32)]  # raw Ed25519
    role: DeviceRole = DeviceRole.PHONE
    challenge: str = ""  # as a 401 gave it, where the server asks for an attestation
    attestation: Annotated[bytes, Meta(max_length=64 * 1024)] = b""  # the platform's word, over that challenge
    staff_token: str | None = None  # a device of the shop enrols with a staff token that has the role `ingest`


class EnrolResponse(msgspec.Struct, frozen=True, kw_only=True):
    device_id: Identity
    epoch: Count
    generation: Identity  # of the store; a restored backup has a new one
    challenge: str = ""  # to sign the first request with


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """Answers `POST /v1/devices/{device_id}/revocation`, which staff send with the role `ingest`."""

    device_id: Identity
    revoked_at: Count  # milliseconds since 1970, the server's clock


class SeqRange(msgspec.Struct, frozen=True, array_like=True):
    first: Count
    last: Count  # inclusive


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """Events that a full cache had to give up, never silently."""

    range: SeqRange
    counts: dict[EventType, Count]


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """When a device heard its last answer, by the clock that nobody can set: the server measures round trips by it."""

    server_time: int  # as the answer says
    boot_id: str
    uptime_ms: Count  # when the answer was there


class SyncRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    device_id: Identity
    epoch: Count
    generation: Identity
    sent_at: int  # milliseconds since 1970, the device's wall clock
    boot_id: str
    uptime_ms: Count
    heard: Heard | None = None  # without it the times of all events are uncertain
    events: Annotated[
        tuple[msgspec.Raw, ...], Meta(max_length=MAX_EVENTS)
    ] = ()  # each an Event; one bad event is quarantined alone
    held: Annotated[
        tuple[SeqRange, ...], Meta(max_length=MAX_RANGES)
    ] = ()  # created and kept on the device, not in this request
    dropped: Annotated[tuple[Dropped, ...], Meta(max_length=MAX_RANGES)] = ()
    owner: Identity | None = None  # the current owner, whose profile is asked for
    known_owners: Annotated[
        tuple[Identity, ...], Meta(max_length=MAX_KNOWN_OWNERS)
    ] = ()  # further owners of events on the device: which of them are the current one's person?
    identity_tokens: Annotated[
        tuple[str, ...], Meta(max_length=MAX_TOKENS)
    ] = ()  # proofs of owners, see contracts.identity
    consents: Annotated[tuple[ConsentFact, ...], Meta(max_length=MAX_CONSENTS)] = ()
    profile_version: Count = 0  # 0: none held
    bundle_version: Count = 0
    accepts_tasks: bool = True  # false on a low battery or a metered network


class VerdictKind(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # held already, byte for byte the same event
    CONFLICT = "conflict"  # the key is held with another payload: take the new epoch, renumber, send again
    QUARANTINED = "quarantined"  # malformed or unknown: kept aside, not counted
    REFUSED = "refused"  # will never be taken, for the reason given: drop it


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    position: Count  # index in SyncRequest.events: a poison event may have no readable key
    kind: VerdictKind
    reason: str = ""


class ProfileDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What changed in the current owner's unified profile; values replace those held, None removes."""

    owner: Identity
    base_version: Count  # 0: this is the whole profile, forget what you held
    version: Count
    items: dict[str, Activity | None] = {}
    orders: dict[str, dict[str, OrderLine] | None] = {}
    hours: tuple[HourCount, ...] = ()  # buckets of `contracts.windows`
    consents: dict[Purpose, Consent] = {}
    erased: bool = False  # the owner was erased: forget all of theirs, and go on with a new anonymous session
    owners: tuple[Identity, ...] = ()  # of the names in the request, those whose events the profile unifies


class BundleOffer(msgspec.Struct, frozen=True, kw_only=True):
    version: Count
    repository: str  # path of the TUF repository on this server


class SyncResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    verdicts: tuple[Verdict, ...]  # one per event, in the request's order
    epoch: Count  # to be used for events created from now on
    generation: Identity
    watermark: int  # every seq of the request's epoch up to this one is durably settled; -1: none
    gaps: tuple[SeqRange, ...] = ()  # neither received, held nor dropped
    profile: ProfileDelta | None = None
    bundle: BundleOffer | None = None  # only where newer than the one held
    task: RoundTask | None = None
    server_time: int = 0  # milliseconds since 1970
    retry_after_s: Count = 900  # when to come back


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer that is no success (RFC 9457)."""

    title: str
    status: int
    detail: str
