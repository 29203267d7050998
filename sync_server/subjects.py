"""Whom a request asks about, where it only reads: proofs held already count, and those that it brings itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from contracts.consent import Purpose
from contracts.errors import PermissionDenied
from sync_server import consents, people, profiles
from sync_server.devices import Device
from sync_server.identifiers import IdentifierKeys
from sync_server.identity import Proof
from sync_server.people import Owner


@dataclass(frozen=True)
class Subject:
    """A person, as one of their owners."""

    owner: Owner
    family: Sequence[Owner]  # all owners of the person
    allowed: frozenset[Purpose]

    @property
    def version(self) -> int:
        """Of the profile."""
        return profiles.version_of(self.family)

    @property
    def owner_ids(self) -> list[int]:
        return [member.id for member in self.family]


def subject(
    connection: Connection, keys: IdentifierKeys, device: Device, name: str, claims: Iterable[Proof]
) -> Subject | None:
    """The person that an owner is, None for an owner that nobody has spoken for yet.

    Args:
        keys: under which owners are stored.
        device: that asks.
        name: of the owner.
        claims: of verified tokens that came with the request; nothing of them is kept.

    Raises:
        PermissionDenied: if the device may not be told about this owner; the message says why.
        WireError: if the name is no `kind:value`.
    """
    known, objection = people.readable(connection, keys, device, name, claims)
    if objection:
        raise PermissionDenied(f"{name.partition(':')[0]} cannot be asked about: {objection}")
    if known is None:
        return None
    family = people.families(connection, {known.person_id})[known.person_id]
    return Subject(known, family, frozenset(consents.granted(connection, {known.person_id})[known.person_id]))
