"""What a server tells other systems of the shop: that something about a person has changed, never what.

A person is named by a random handle, which is worth nothing once the person is erased; a message holds no identifier
and no event. Every message is JSON with its `kind`, travels under `SUBJECT` and carries an id in the header
`ID_HEADER`: `<generation>-<number>`. It may come more than once, with the same id. Whoever drops what they have seen
gets all messages of a person in the order in which it happened.
"""

import msgspec

from contracts.consent import Purpose
from contracts.events import Count, Identity

SUBJECT = "pocketrec.v1.people"  # NATS's subject, RabbitMQ's exchange, Kafka's topic
STREAM = "pocketrec_v1"  # NATS JetStream's, which holds the subject
ID_HEADER = "Nats-Msg-Id"  # by it JetStream itself drops what it holds already


class _AboutPerson(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    handle: Identity  # of the person; by it Kafka chooses the partition
    version: Count  # the store's change number, which never falls; those of one transaction share it
    at: int  # milliseconds since 1970, the server's time


class ProfileChanged(_AboutPerson, frozen=True, kw_only=True, tag="profile_changed"):
    """The profile has more in it than before."""


class Merged(_AboutPerson, frozen=True, kw_only=True, tag="merged"):
    """These turned out to be one person, who from now on is called `handle`."""

    absorbed: tuple[Identity, ...]  # handles that name nobody any more


class Unmerged(_AboutPerson, frozen=True, kw_only=True, tag="unmerged"):
    """What was called `handle` is more than one person: what was concluded from the whole is void."""

    parts: tuple[Identity, ...]  # handles of the persons, `handle` among them


class ConsentChanged(_AboutPerson, frozen=True, kw_only=True, tag="consent_changed"):
    """A decision was taken."""

    allows: tuple[Purpose, ...]  # all that the person allows now


class Erased(_AboutPerson, frozen=True, kw_only=True, tag="erased"):
    """The person is gone: forget whatever is kept under these handles."""

    also: tuple[Identity, ...] = ()  # further handles by which owners of the person were named


Message = ProfileChanged | Merged | Unmerged | ConsentChanged | Erased


def kind_of(message: Message) -> str:
    """Such as `profile_changed`."""
    return str(message.__struct_config__.tag)


def handles_of(message: Message) -> frozenset[str]:
    """Everybody whom a message is about."""
    match message:
        case Merged(handle=handle, absorbed=others) | Unmerged(handle=handle, parts=others):
            return frozenset((handle, *others))
        case Erased(handle=handle, also=others):
            return frozenset((handle, *others))
    return frozenset((message.handle,))
