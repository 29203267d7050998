"""What happened, as a device, a till or a web shop records it."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

Identity = Annotated[
    str, Meta(min_length=1, max_length=128, pattern="^[^\\x00]+$")
]  # PostgreSQL takes no NUL in a text
Count = Annotated[int, Meta(ge=0, le=2**53)]  # the integers that JSON readers keep exact


class EventType(StrEnum):
    """What a person did. Order is strength: the weakest sign of interest first."""

    IMPRESSION = "impression"
    RECOMMENDATION_SHOWN = "recommendation_shown"
    SEARCH = "search"
    REMOVE_FROM_CART = "remove_from_cart"
    VIEW = "view"
    RECOMMENDATION_TAPPED = "recommendation_tapped"
    ADD_TO_CART = "add_to_cart"
    REFUND = "refund"
    PURCHASE = "purchase"


EVENT_CODES: dict[EventType, int] = {kind: code for code, kind in enumerate(EventType, start=1)}
"""The device model's input code of an event type; 0 is padding."""


class Money(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """An amount in the minor unit of its currency (cents): never a float.

    A further field would change what the amount means: an event with one is held until the server knows it.
    """

    amount: Annotated[int, Meta(ge=-(2**53), le=2**53)]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]  # ISO 4217


class EventKey(msgspec.Struct, frozen=True, order=True, array_like=True):
    """An event's identity: nothing else decides whether two events are the same."""

    device_id: Identity
    epoch: Count
    seq: Count


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event, as it was: clocks are raw, nothing is corrected on the device.

    A field that comes in a later release stands after these, among the later ones by name, and is null by default: an
    event then reads the same at rest (see `sync_server.received`) whether or not a server knows all of its fields.
    """

    device_id: Identity
    epoch: Count  # issued by the server; a restored or cloned phone gets a new one
    seq: Count  # gap-free at creation within the epoch
    type: EventType
    owner: Identity  # the login or card active when it happened, else an anonymous session; see contracts.identity
    occurred_at: Annotated[int, Meta(ge=-(2**53), le=2**53)]  # milliseconds since 1970, the device's wall clock
    boot_id: Annotated[str, Meta(max_length=64)]
    uptime_ms: Count  # monotonic since boot
    item_id: Identity | None = None
    quantity: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    price: Money | None = None  # of one piece
    order_id: Identity | None = None  # on purchases and refunds; the same order seen by two channels counts once
    context: dict[str, str] = {}

    @property
    def key(self) -> EventKey:
        return EventKey(self.device_id, self.epoch, self.seq)
