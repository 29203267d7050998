"""The shop's identity provider: ID tokens of OpenID Connect, verified with the provider's published keys.

Of a token only what names owners is read: `sub` is a login, and chosen claims hold further identifiers of the same
person, such as a loyalty card. An e-mail address, a name, or whatever else a token carries is neither kept nor logged.

Sources: OpenID Connect Core 1.0 section 3.1.3.7; RFC 7519 (JWT), RFC 7517 (JWKS), RFC 8725 (algorithms follow the key).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec
from jwt.types import Options

from contracts.errors import AuthenticationError
from contracts.events import Identity
from contracts.identity import OwnerKind
from sync_server.identifier_rules import IdentifierRules
from sync_server.identity_keys import IdentityKeys, UnknownKeyError

AGAIN = "get a new one from the identity provider"
_REQUIRED: Options = {
    "require": ["iss", "aud", "exp", "sub"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


@dataclass(frozen=True)
class Proof:
    """What a token says: owners, `kind:value`, who are one person."""

    sub: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Issuer:
    """Whose tokens are believed.

    Attributes:
        name: its `iss`, an address.
        audience: the `aud` that its tokens must name.
        keys: what it signs with.
        claims: claims that hold further identifiers, a text or a list of texts each, and their kind.
        rules: placeholders among these are passed over.
        leeway_s: how far clocks may be apart.
    """

    name: str
    audience: str
    keys: IdentityKeys
    claims: Mapping[str, OwnerKind]
    rules: IdentifierRules
    leeway_s: int

    def verify(self, tokens: Iterable[str], now_ms: int) -> tuple[Proof, ...]:
        """What tokens prove, each verified.

        Args:
            tokens: compact JWTs.
            now_ms: milliseconds since 1970.

        Raises:
            UnknownKeyError: if a token names a key that is not known, and it is worth fetching the keys once more.
            AuthenticationError: if a token is not signed by the issuer, is for another audience, has expired or is not
                valid yet, or its `sub` is no identifier.
        """
        return tuple(
            self._verify(f"identity token {place}", token, now_ms / 1000) for place, token in enumerate(tokens)
        )

    def verify_fetching(self, tokens: Iterable[str], now_ms: int) -> tuple[Proof, ...]:
        """As `verify`, and waits for the provider where its keys are to be fetched: not for the event loop."""
        some = tuple(tokens)
        try:
            return self.verify(some, now_ms)
        except UnknownKeyError:
            self.keys.refresh()
            return self.verify(some, now_ms)

    def _verify(self, which: str, token: str, now_s: float) -> Proof:
        try:
            key = self.keys.of(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token, key.key, algorithms=[key.algorithm_name], audience=self.audience, issuer=self.name,
                options=_REQUIRED,
            )  # fmt: skip
            expires, begins = float(claims["exp"]), float(claims.get("nbf", 0))
        except UnknownKeyError:
            raise
        except AuthenticationError as error:
            raise AuthenticationError(f"{which} {error}: {AGAIN}") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise AuthenticationError(f"{which} is not valid ({_reason(error)}): {AGAIN}") from None
        if not now_s < expires + self.leeway_s:
            raise AuthenticationError(f"{which} has expired: {AGAIN}")
        if not begins - self.leeway_s <= now_s:
            raise AuthenticationError(f"{which} is not valid yet: {AGAIN}")
        sub = _owner(OwnerKind.LOGIN, claims["sub"])
        if sub is None or self.rules.objection(sub):
            raise AuthenticationError(f"{which} has a sub that is a placeholder or longer than an identifier: {AGAIN}")
        return Proof(sub, tuple(dict.fromkeys(owner for owner in self._also(claims) if owner != sub)))

    def _also(self, claims: Mapping[str, Any]) -> Iterable[str]:
        for name, kind in self.claims.items():
            values = claims.get(name, ())
            for value in values if isinstance(values, list) else [values]:
                owner = _owner(kind, value)
                if owner is not None and not self.rules.objection(owner):
                    yield owner


def _owner(kind: OwnerKind, value: object) -> str | None:
    """An owner's name, None where the value is none."""
    if not isinstance(value, str) or not value:
        return None
    try:
        return msgspec.convert(f"{kind}:{value}", Identity)
    except msgspec.ValidationError:
        return None


def _reason(error: Exception) -> str:
    """What is wrong, without what the token said."""
    return str(error) if isinstance(error, jwt.PyJWTError) else "a claim is of another type"
