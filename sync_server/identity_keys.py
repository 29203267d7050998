"""The keys that an identity provider signs with: given in the settings, or discovered and kept up to date.

Nobody waits for the provider but the token of a key that is not known; and however many of those come, the provider is
asked once in a while only. Keys are asked for again after an hour, so that one that was withdrawn is not believed for
ever; where the provider cannot be reached then, those at hand still hold.

Sources: OpenID Connect Discovery 1.0, RFC 7517.
"""

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import jwt

from contracts.errors import AuthenticationError, ConfigError

ALGORITHMS = ("RS256", "ES256", "EdDSA")
MAX_AGE_S = 3600.0
MIN_PAUSE_S = 30.0  # between two attempts to fetch
TIMEOUT_S = 5.0
MAX_BYTES = 2**20  # of what a provider answers
DISCOVERY = "/.well-known/openid-configuration"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class UnknownKeyError(AuthenticationError):
    """A token names a key that is not known yet: the keys are to be fetched, and the token tried again."""


class IdentityKeys:
    """Of one provider, by key id; shared by all threads of a process."""

    def __init__(
        self,
        issuer: str,
        jwks: Mapping[str, Any] | None = None,
        fetch: Callable[[str], dict[str, Any]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            issuer: address of the provider.
            jwks: its keys, where they are not to be discovered.
            fetch: gets a JSON object from an address.
            clock: seconds, of which only differences count.

        Raises:
            ConfigError: if `jwks` holds no key of `ALGORITHMS`, or the issuer is no https address (but on loopback).
        """
        self._issuer, self._fetch, self._clock = issuer, fetch or _get, clock
        self._lock = threading.Lock()
        self._given = jwks is not None
        self._tried_at: float | None = None
        self._keys: dict[str | None, jwt.PyJWK] = {}
        if jwks is not None:
            self._keys = _usable(jwks)
            if not self._keys:
                raise ConfigError(f"identity_keys holds no signing key of {', '.join(ALGORITHMS)}: give a JWKS of one")
        else:
            try:
                _check_address(issuer)
            except ValueError as error:
                raise ConfigError(f"identity_issuer {error}") from None

    def of(self, key_id: object) -> jwt.PyJWK:
        """The key that a token names; a provider with one key need not name it.

        Raises:
            UnknownKeyError: if the keys should be fetched first, see `refresh`.
            AuthenticationError: if there is no such key; the message goes on from the token's name.
        """
        keys = self._keys
        if self._due(MAX_AGE_S):
            raise UnknownKeyError("the identity provider's keys are not here yet: send it again")
        if key_id is None and len(keys) == 1:
            return next(iter(keys.values()))
        found = keys.get(key_id) if isinstance(key_id, str) else None
        if found is not None:
            return found
        kind = UnknownKeyError if self._due(MIN_PAUSE_S) else AuthenticationError
        raise kind("names a key that its provider does not have")

    def refresh(self) -> None:
        """Fetch the keys, unless that was tried a moment ago; what cannot be fetched leaves those at hand."""
        with self._lock:
            if not self._due(MIN_PAUSE_S):
                return
            try:
                found = self._fetch(self._issuer.rstrip("/") + DISCOVERY)
                if found.get("issuer") != self._issuer:
                    raise ValueError("the document is of another issuer")
                self._keys = _usable(self._fetch(_check_address(str(found.get("jwks_uri"))))) or self._keys
            except (OSError, ValueError):
                pass  # the token is refused or, with a key at hand, taken; the next attempt comes after the pause
            finally:
                self._tried_at = self._clock()

    def _due(self, after_s: float) -> bool:
        return not self._given and (self._tried_at is None or self._clock() - self._tried_at >= after_s)


def _usable(jwks: Mapping[str, Any]) -> dict[str | None, jwt.PyJWK]:
    """Keys for signatures, each bound to its one algorithm; others of the set are passed over."""
    found: dict[str | None, jwt.PyJWK] = {}
    entries = jwks.get("keys")
    for entry in entries if isinstance(entries, list) else []:
        try:
            if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or "k" in entry:
                continue
            key = jwt.PyJWK(entry)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
        if key.algorithm_name in ALGORITHMS:
            found[key.key_id] = key
    return found


def _check_address(address: str) -> str:
    """The address, if what comes from there can be believed; ValueError otherwise."""
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError(f"{address!r} is not an https address: give the provider's own")
    return address


def _get(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:
        found = json.loads(answer.read(MAX_BYTES))
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found
