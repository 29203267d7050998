"""A test identity provider: signs ID tokens that prove who uses a phone, and which loyalty card is theirs."""

import hashlib
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from contracts.identity import OwnerKind

LIFETIME_S = 3600
ISSUER = "https://identity.pocketrec.invalid"  # a name that never resolves (RFC 6761): its keys are given, not fetched
CLAIMS = {OwnerKind.CARD: "card", OwnerKind.LOGIN: "logins", OwnerKind.ANONYMOUS: "sessions"}
"""Which claim holds further owners of a kind."""


class IdentityProvider:
    """Issues tokens of OpenID Connect, signed with Ed25519 (RFC 8037)."""

    def __init__(self, audience: str, now_ms: Callable[[], int], private_key: Ed25519PrivateKey | None = None) -> None:
        """
        Args:
            audience: whom the tokens are for.
            now_ms: milliseconds since 1970; tokens hold for an hour from then.
            private_key: of an earlier run; a new one by default.
        """
        self._audience = audience
        self._now_ms = now_ms
        self._key = private_key or Ed25519PrivateKey.generate()

    @property
    def jwks(self) -> dict[str, Any]:
        """What the sync server verifies with (RFC 7517)."""
        return jwks_of(self._key)

    def token(self, owner: str, also: tuple[str, ...] = (), **claims: Any) -> str:
        """A token of a login, and of further owners that are the same person; other claims as given."""
        now_s = self._now_ms() // 1000
        said: dict[str, Any] = {
            "iss": ISSUER,
            "aud": self._audience,
            "sub": owner.removeprefix(f"{OwnerKind.LOGIN}:"),
            "iat": now_s,
            "exp": now_s + LIFETIME_S,
        }
        for name in also:
            kind, _, value = name.partition(":")
            said.setdefault(CLAIMS[OwnerKind(kind)], []).append(value)
        (key,) = self.jwks["keys"]
        return jwt.encode(said | claims, self._key, algorithm="EdDSA", headers={"kid": key["kid"]})


def jwks_of(private_key: Ed25519PrivateKey) -> dict[str, Any]:
    """The public half of a key as a JWKS."""
    public = private_key.public_key()
    named = hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]
    return {"keys": [OKPAlgorithm.to_jwk(public, as_dict=True) | {"kid": named, "use": "sig", "alg": "EdDSA"}]}
