"""What staff ask and are told about who is one person. Owners and persons are named by random handles."""

from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.events import Count, Identity
from contracts.outbox import Message

MAX_SIDE = 1_000
Side = Annotated[tuple[Identity, ...], Meta(min_length=1, max_length=MAX_SIDE)]


class UnmergeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/people/unmerge`: two sets of owners, of whom nobody on the one side is anybody on the other."""

    one_side: Side
    other_side: Side


class Outward(msgspec.Struct, frozen=True, kw_only=True):
    """A message that other systems have or will get."""

    message: Message
    acknowledged: bool  # by the broker; if not, it is on its way


class Separation(msgspec.Struct, frozen=True, kw_only=True):
    """What an unmerge did."""

    separation: Count  # its number, to be lifted by
    persons: tuple[Identity, ...]  # whom the owners of both sides are now
    joined_at: int  # since when links had made the sides one person, milliseconds since 1970; 0 if none had
    published: tuple[Outward, ...]  # what was told about the whole since then, as far as messages are kept


class Lifted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `POST /v1/people/separations/{number}/lift`."""

    persons: tuple[Identity, ...]  # whom the owners of both sides, and all that hang on them, are now


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """A link in the chain that makes two owners one person."""

    one: Identity
    other: Identity
    linked_at: int  # milliseconds since 1970
    device_id: Identity  # which showed the token


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v1/people/why`."""

    links: tuple[Reason, ...]  # a chain from the one to the other; empty where they are two persons
