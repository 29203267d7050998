"""What a person may ask of a server: all that it holds about them, and to be forgotten.

`POST /v1/people/export` and `POST /v1/people/erase` take a `PersonRequest` on a request that the person's device signs
like a sync; `POST /v1/people/{handle}/export` and `.../erase` take the staff's token instead and no body.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from contracts.consent import Purpose
from contracts.events import Count, Identity
from contracts.outbox import Message
from contracts.summary import Summary
from contracts.windows import HourCount


class PersonRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who asks, proven.

    Make a new `request_id` for each wish and send the same one until the wish is answered: an erasure that came twice
    is answered as the first time, and does not erase again whoever came back in between.
    """

    identity_token: Annotated[str, Meta(min_length=1)]  # of the identity provider, see contracts.identity
    request_id: Annotated[str, Meta(max_length=128)] = ""  # random; without one, only the same bytes are the same wish


class HeldOwner(msgspec.Struct, frozen=True, kw_only=True):
    """One identifier of the person. The identifier itself is not held, only a keyed hash that nobody can turn back."""

    handle: str  # random: what the other parts of the export call it
    kind: str  # login, card or anonymous
    key_version: Count  # of the hash


class HeldDecision(msgspec.Struct, frozen=True, kw_only=True):
    """One decision about consent, whether or not it counted."""

    owner: str  # handle
    purpose: Purpose
    granted: bool
    cites: Count
    version: Count  # the standing version afterwards
    counted: bool
    made_at: int  # milliseconds since 1970, by the server's clock
    received_at: int
    device_id: str


class HeldEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event and what was made of it."""

    owner: str  # handle
    device_id: Identity
    epoch: Count
    seq: Count
    verdict: str
    reason: str
    occurred_at: int | None  # milliseconds since 1970, as fixed when it came
    uncertain: bool | None
    profiled: bool | None  # whether it entered the profile
    received_at: int
    payload: Any  # the event as it was sent, without its owner; null where none is kept


class HeldSeparation(msgspec.Struct, frozen=True, kw_only=True):
    """Staff said that owners are not the same person as others."""

    owners: tuple[str, ...]  # of these; the others are somebody else
    made_at: int
    lifted_at: int | None


class HeldLink(msgspec.Struct, frozen=True, kw_only=True):
    """What says that two identifiers are one person."""

    owners: tuple[str, str]  # handles
    device_id: str  # that showed the token which says so
    linked_at: int
    reason: str = ""  # why it joins nobody, empty where it does


class HeldProof(msgspec.Struct, frozen=True, kw_only=True):
    """A device that was seen to speak for an identifier."""

    owner: str  # handle
    device_id: str
    proven_at: int


class HeldDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device that an identifier of the person uses, or has used."""

    device_id: str
    role: str
    enrolled_at: int
    synced_at: int | None
    current: bool  # whether one of the person's identifiers is using it now


class HeldRound(msgspec.Struct, frozen=True, kw_only=True):
    """A federated round that the person was asked to take part in."""

    round_id: str
    asked_until: int  # its deadline, milliseconds since 1970
    answered_at: int | None


class HeldEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit log says about the person."""

    number: Count
    at: int
    actor: str
    action: str
    handle: str
    detail: Any


class PersonExport(msgspec.Struct, frozen=True, kw_only=True):
    """All that is held about a person, as of one moment."""

    exported_at: int  # milliseconds since 1970
    handle: str  # of the person
    owners: tuple[HeldOwner, ...]
    links: tuple[HeldLink, ...]
    separations: tuple[HeldSeparation, ...]
    proofs: tuple[HeldProof, ...]
    devices: tuple[HeldDevice, ...]
    decisions: tuple[HeldDecision, ...]
    events: tuple[HeldEvent, ...]
    summaries: dict[str, Summary]  # by handle
    hours: dict[str, tuple[HourCount, ...]]  # by handle, see `contracts.windows`
    rounds: tuple[HeldRound, ...]
    audit: tuple[HeldEntry, ...]
    published: tuple[Message, ...]  # that went outward, or surely will


class Forgotten(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an erasure; it is durable."""

    erased_at: int  # milliseconds since 1970: what was made up to then is not taken any more
    owners: Count  # identifiers that were forgotten
