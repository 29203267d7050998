"""Challenges: what a device signs beside its request, so that a request that somebody recorded is soon worth nothing.

A challenge says when the server gave it to which device, and a MAC that only the server can make says that it is true:
nothing is stored, every worker knows every challenge, and no phone's clock is believed. Within its life a recorded
request could be sent again: by then it is a resend, which changes nothing.
"""

import base64
import binascii
import hashlib
import hmac
import struct

from contracts.errors import AuthenticationError

LIFETIME_MS = 24 * 3_600_000  # a phone that syncs daily never needs to ask for one
MAC_BYTES = 16
_TIME = struct.Struct(">q")


class Challenges:
    """Gives and checks challenges with a key that all workers of a server share."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.digest(key, b"pocketrec challenges", hashlib.sha256)

    def issue(self, device_id: str, now_ms: int) -> str:
        """A challenge for a device, 32 characters of base64url."""
        time = _TIME.pack(now_ms)
        return base64.urlsafe_b64encode(time + self._mac(device_id, time)).decode()

    def check(self, challenge: str, device_id: str, now_ms: int) -> int:
        """When the server gave a challenge, milliseconds since 1970.

        Raises:
            AuthenticationError: unless it was this server, to this device, and not too long ago.
        """
        again = "sign the request with the challenge in this answer's header"
        try:
            raw = base64.b64decode(challenge, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        time, mac = raw[: _TIME.size], raw[_TIME.size :]
        if len(time) < _TIME.size or not hmac.compare_digest(mac, self._mac(device_id, time)):
            raise AuthenticationError(f"the challenge is none of this server's: {again}")
        given_at: int = _TIME.unpack(time)[0]
        if not 0 <= now_ms - given_at <= LIFETIME_MS:
            raise AuthenticationError(f"the challenge is older than {LIFETIME_MS // 3_600_000} hours: {again}")
        return given_at

    def _mac(self, device_id: str, time: bytes) -> bytes:
        # Keyed BLAKE2 (RFC 7693), as Python's HMAC lets other threads go first each time, which a small request feels.
        return hashlib.blake2s(time + device_id.encode(), key=self._key, digest_size=MAC_BYTES).digest()
