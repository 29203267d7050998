"""Who of the staff may do what.

A member of the staff is a name with a token and some roles. The server's settings hold only each token's SHA-256:
tokens are long and random, so that nobody finds one by trying, and whoever reads the settings cannot act as staff. The
name is what the audit log calls who did something.
"""

import hashlib
import hmac
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from contracts.errors import AuthenticationError, PermissionDenied

if TYPE_CHECKING:
    from litestar import Request

SCHEME = "Bearer"  # RFC 6750


class Role(StrEnum):
    INGEST = "ingest"  # enrol and revoke the shop's devices: tills, web shops, kiosks
    READ = "read"  # look at people's profiles, and at the fleet's health
    ERASE = "erase"  # export, erase, unmerge and decide for people
    PUBLISH = "publish"  # hand in publications; they are signed elsewhere, with keys that no server has
    METRICS = "metrics"  # fetch /metrics: what collects them must not be able to look at people


class Member(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One name in the settings' `staff`."""

    token_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]  # see `token_digest`
    roles: frozenset[Role]


Staff = Mapping[str, Member]
"""By name."""


def token_digest(token: str) -> str:
    """What the settings hold of a token: SHA-256 in hexadecimal, as `printf %s "$TOKEN" | sha256sum` says."""
    return hashlib.sha256(token.encode()).hexdigest()


def member_of(staff: Staff, token: str | None) -> str | None:
    """The name of who holds a token, None if nobody does."""
    shown = token_digest(token or "")
    # All are compared, each in constant time: how long it takes says nothing about who is staff.
    found = [name for name, member in staff.items() if hmac.compare_digest(shown, member.token_sha256)]
    return found[0] if token and found else None


def actor(staff: Staff, token: str | None, role: Role) -> str:
    """The name of who holds a token, if they have a role.

    Raises:
        AuthenticationError: if nobody holds the token.
        PermissionDenied: if whoever does lacks the role.
    """
    name = member_of(staff, token)
    if name is None:
        raise AuthenticationError(f"the staff token is missing or unknown: show one with the role {role}")
    if role not in staff[name].roles:
        raise PermissionDenied(f"{name} lacks the role {role}: ask who runs this server for it")
    return name


def require(request: "Request", role: Role) -> str:
    """The name of who sends a request with `Authorization: Bearer <token>`; errors as `actor`."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != SCHEME.lower():
        raise AuthenticationError(f"send the header Authorization: {SCHEME} <token of the staff, with the role {role}>")
    return actor(request.app.state.settings.staff, token.strip(), role)
