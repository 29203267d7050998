"""A test identity provider: signs tokens that prove who uses a phone, and which loyalty card is theirs."""

from collections.abc import Callable

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from contracts.identity import IdentityClaims

LIFETIME_S = 3600


class IdentityProvider:
    """Issues EdDSA JSON Web Tokens (RFC 7519, RFC 8037)."""

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
    def public_key(self) -> bytes:
        """Raw Ed25519 [32 bytes]: what the sync server verifies with."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def token(self, owner: str, also: tuple[str, ...] = ()) -> str:
        """A token of an owner, and of further owners that are the same person."""
        expires_s = self._now_ms() // 1000 + LIFETIME_S
        claims = IdentityClaims(sub=owner, aud=self._audience, exp=expires_s, also=also)
        return jwt.encode(msgspec.to_builtins(claims), self._key, algorithm="EdDSA")
