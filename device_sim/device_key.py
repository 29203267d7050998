"""The device's own Ed25519 key, which signs every request it sends."""

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from contracts.sync import SIGNATURE_SCHEME, signed_bytes
from device_sim.database import Database


class DeviceKey:
    """Made at first use and kept in the device's database; a real phone keeps it in its secure hardware."""

    def __init__(self, database: Database) -> None:
        with database.transaction():
            raw = database.get("private_key")
            if raw is None:
                raw = Ed25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
                database.put("private_key", raw)
        self._key = Ed25519PrivateKey.from_private_bytes(raw)

    @property
    def public_key(self) -> bytes:
        """Raw [32 bytes]."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def authorization(self, device_id: str, method: str, path: str, challenge: str, body: bytes) -> str:
        """The header that proves a request to come from this device; see `contracts.sync.signed_bytes`."""
        signature = self._key.sign(signed_bytes(method, path, challenge, body))
        return f"{SIGNATURE_SCHEME} {device_id}.{challenge}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
