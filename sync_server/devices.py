"""Devices: enrolment, and the signature that every later request carries."""

import base64
import binascii
import secrets
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Row, insert, select, update

from contracts.errors import AuthenticationError, PermissionDenied
from contracts.identity import DeviceRole
from contracts.sync import SIGNATURE_SCHEME, EnrolRequest, EnrolResponse, signed_bytes
from sync_server.bulk import update_rows
from sync_server.challenges import Challenges
from sync_server.staff import Role, Staff, actor
from sync_server.store import Store
from sync_server.tables import devices
from sync_server.turn import Turn

FIRST_EPOCH = 1
MAX_HELD_KEYS = 20_000  # of some hundred bytes each


@dataclass(frozen=True)
class Device:
    device_id: str
    role: DeviceRole
    epoch: int  # the newest one issued
    owner_id: int | None  # the current owner, as last proven


def enrol(store: Store, challenges: Challenges, request: EnrolRequest, staff: Staff) -> EnrolResponse:
    """Enrol a device's key.

    A key that is enrolled already keeps its device and gets a new epoch: whoever enrols again has lost track of what
    it sent.

    Raises:
        AuthenticationError: if a device of the shop does not show a token of the staff.
        PermissionDenied: if that token lacks the role `ingest`, or the key is enrolled in another role.
    """
    if request.role is not DeviceRole.PHONE:
        actor(staff, request.staff_token, Role.INGEST)
    with store.write() as connection:
        known = connection.execute(select(devices).where(devices.c.public_key == request.public_key)).one_or_none()
        if known is None:
            device = Device(secrets.token_hex(16), request.role, FIRST_EPOCH, None)
            row = {"device_id": device.device_id, "role": device.role, "epoch": device.epoch}
            now = store.now_ms()
            connection.execute(insert(devices).values(**row, public_key=request.public_key, enrolled_at=now))
        else:
            device = _device(known)
            if device.role is not request.role:
                raise PermissionDenied(f"this key is enrolled as a {device.role}: enrol a {request.role} with its own")
            device = issue_epoch(connection, device)
    return EnrolResponse(
        device_id=device.device_id,
        epoch=device.epoch,
        generation=store.generation,
        challenge=challenges.issue(device.device_id, store.now_ms()),
    )


def issue_epoch(connection: Connection, device: Device, at_least: int = 0) -> Device:
    """The device with an epoch that nobody holds, nor is below `at_least`."""
    epoch = max(device.epoch + 1, at_least)
    connection.execute(update(devices).where(devices.c.device_id == device.device_id).values(epoch=epoch))
    return Device(device.device_id, device.role, epoch, device.owner_id)


def load(connection: Connection, device_ids: Collection[str]) -> dict[str, Device]:
    """Some devices as they are now; they must exist."""
    rows = connection.execute(select(devices).where(devices.c.device_id.in_(sorted(device_ids))))
    return {row.device_id: _device(row) for row in rows}


def seen(turn: Turn, users: Iterable[tuple[Device, int | None]]) -> None:
    """Note that devices synced, and the owner who is using each."""
    rows = [
        {"device_id": device.device_id, "synced_at": turn.now_ms, "owner_id": owner_id} for device, owner_id in users
    ]
    update_rows(turn.connection, devices, sorted(rows, key=lambda row: row["device_id"]))


class Keys:
    """The public keys of devices, each read from the store once: a device never changes its key."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: OrderedDict[str, Ed25519PublicKey] = OrderedDict()

    def of(self, device_id: str) -> Ed25519PublicKey | None:
        """None if no such device is enrolled."""
        key = self._held.get(device_id)
        if key is None:
            with self._store.read() as connection:
                raw = connection.execute(select(devices.c.public_key).where(devices.c.device_id == device_id)).scalar()
            if raw is None:
                return None
            key = Ed25519PublicKey.from_public_bytes(raw)
            while len(self._held) >= MAX_HELD_KEYS:
                self._held.popitem(last=False)
        self._held[device_id] = key
        return key


def authenticate(
    keys: Keys, challenges: Challenges, authorization: str | None, method: str, path: str, body: bytes, now_ms: int
) -> str:
    """The id of the device that signed a request.

    Args:
        keys: of the devices of a store.
        challenges: of the server.
        authorization: the header, `PocketrecDevice <device_id>.<challenge>.<base64url signature>`.
        method, path, body: see `contracts.sync.signed_bytes`.
        now_ms: the server's time, milliseconds since 1970.

    Raises:
        AuthenticationError: if the header is missing or malformed, the device unknown, the challenge none or too old,
            or the signature wrong.
    """
    device_id, challenge, signature = _credentials(authorization)
    key = keys.of(device_id)
    if key is None:
        raise AuthenticationError(f"device {device_id!r} is not enrolled here: enrol with POST /v1/devices")
    challenges.check(challenge, device_id, now_ms)
    try:
        raw = base64.b64decode(signature + "=" * (-len(signature) % 4), altchars=b"-_", validate=True)
        key.verify(raw, signed_bytes(method, path, challenge, body))
    except (binascii.Error, ValueError, InvalidSignature):
        raise AuthenticationError(
            f"the signature of device {device_id!r} does not fit this request: sign method, path, challenge and the "
            "body as sent, after compression"
        ) from None
    return device_id


def claimed_id(authorization: str | None) -> str | None:
    """The device that a header names, whether or not it may; None if the header names none."""
    try:
        return _credentials(authorization)[0]
    except AuthenticationError:
        return None


def _credentials(authorization: str | None) -> tuple[str, str, str]:
    """Device id, challenge and signature of a header."""
    scheme, _, credentials = (authorization or "").partition(" ")
    parts = credentials.strip().rsplit(".", 2)
    if scheme != SIGNATURE_SCHEME or len(parts) != 3 or not all(parts):
        raise AuthenticationError(
            f"send the header Authorization: {SIGNATURE_SCHEME} <device_id>.<challenge>.<base64url signature>"
        )
    return parts[0], parts[1], parts[2]


def _device(row: Row) -> Device:
    return Device(row.device_id, DeviceRole(row.role), row.epoch, row.owner_id)
