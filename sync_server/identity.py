"""The identity provider's tokens: EdDSA JSON Web Tokens (RFC 7519, RFC 8037)."""

from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt import PyJWS, PyJWTError

from contracts.codec import decode
from contracts.errors import AuthenticationError, WireError
from contracts.identity import IdentityClaims, owner_kind

_JWS = PyJWS(algorithms=["EdDSA"])


def verify_tokens(tokens: Iterable[str], public_key: bytes, audience: str, now_ms: int) -> tuple[IdentityClaims, ...]:
    """The claims of tokens, each verified.

    Args:
        tokens: compact JWTs.
        public_key: the issuer's raw Ed25519 key.
        audience: what `aud` must be.
        now_ms: milliseconds since 1970; a token is good before its `exp`.

    Raises:
        AuthenticationError: if a token is not signed by the issuer, is for another audience or has expired.
        WireError: if the claims are none of `IdentityClaims`.
    """
    key = Ed25519PublicKey.from_public_bytes(public_key)
    return tuple(
        _verify(f"identity token {position}", token, key, audience, now_ms) for position, token in enumerate(tokens)
    )


def _verify(which: str, token: str, key: Ed25519PublicKey, audience: str, now_ms: int) -> IdentityClaims:
    again = "get a new one from the identity provider"
    try:
        payload: bytes = _JWS.decode(token, key, algorithms=["EdDSA"])
    except (PyJWTError, ValueError, RecursionError) as error:
        raise AuthenticationError(f"{which} is not valid ({error}): {again}") from None
    try:
        claims = decode(payload, IdentityClaims)
        for owner in (claims.sub, *claims.also):
            owner_kind(owner)
    except WireError as error:
        raise WireError(f"{which}: {error}") from None
    if claims.aud != audience:
        raise AuthenticationError(f"{which} is for {claims.aud!r}, not for {audience!r}: {again}")
    if claims.exp * 1000 <= now_ms:
        raise AuthenticationError(f"{which} has expired: {again}")
    return claims
