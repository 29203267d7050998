"""Devices as they are enrolled, and the signature that every request of theirs carries."""

import base64
import binascii
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Row, select, update

from contracts.errors import AuthenticationError, PermissionDenied
from contracts.events import EventKey
from contracts.identity import DeviceRole
from contracts.sync import SIGNATURE_SCHEME, signed_bytes
from sync_server.bulk import rows_at, update_rows
from sync_server.challenges import Challenges
from sync_server.event_time import Known
from sync_server.store import Store
from sync_server.tables import devices
from sync_server.turn import Turn

FIRST_EPOCH = 1
MAX_HELD_KEYS = 20_000  # of some hundred bytes each


class Reported(NamedTuple):
    """What a request tells of all that its device made before."""

    epoch: int  # of the request
    seq: int  # the greatest of this epoch that the device ever spoke of, -1 if of none
    made_after: int  # see `sync_server.event_time.made_after`


@dataclass(frozen=True)
class Device:
    device_id: str
    role: DeviceRole
    epoch: int  # the newest one issued
    enrolled_at: int
    owner_id: int | None  # the current owner, as last proven
    changed_at: int  # the last sync that brought or changed anything, else when it enrolled
    revoked: bool = False
    synced_at: int | None = None  # milliseconds since 1970
    reported: Reported | None = None  # at the last sync
    erased_at: int | None = None  # whom it served was erased then, and it may not know; milliseconds since 1970


@dataclass(frozen=True)
class Signer:
    """A device as far as its signature tells."""

    device_id: str
    role: DeviceRole
    challenge: str
    challenged_at: int  # when the server gave the challenge: the request was made since


def check(device: Device) -> Device:
    """The device, which must not have been revoked; raises PermissionDenied."""
    if device.revoked:
        raise PermissionDenied(f"device {device.device_id!r} was revoked: ask the staff of the shop")
    return device


def with_new_epoch(device: Device, at_least: int = 0) -> Device:
    """The device with an epoch that nobody holds, nor is below `at_least`; issued once it is written down."""
    return replace(device, epoch=max(device.epoch + 1, at_least))


def issue_epoch(connection: Connection, device: Device) -> Device:
    """The device with a new epoch, written down."""
    issued = with_new_epoch(device)
    connection.execute(update(devices).where(devices.c.device_id == device.device_id).values(epoch=issued.epoch))
    return issued


def load(connection: Connection, device_ids: Collection[str]) -> dict[str, Device]:
    """Some devices as they are now; they must exist."""
    rows = rows_at(connection, devices, ("device_id",), [(device_id,) for device_id in sorted(device_ids)])
    return {row.device_id: device_of(row) for row in rows}


def known(device: Device, key: EventKey | None, now_ms: int) -> Known:
    """When an event of a device was made, as far as its number tells.

    A device numbers its events as it makes them: what has a greater number than all that it spoke of in its last
    request was made after that was, and what has none was made before that was taken. No clock can be wrong about that.
    """
    if key is None or device.synced_at is None or device.reported is None or device.reported.epoch != key.epoch:
        return Known(0, now_ms, enrolled=device.enrolled_at)
    if key.seq > device.reported.seq:
        return Known(device.synced_at, now_ms, device.reported.made_after, device.enrolled_at)
    return Known(0, device.synced_at, enrolled=device.enrolled_at)


@dataclass(frozen=True)
class Seen:
    """What a sync leaves behind of its device."""

    device: Device  # with the newest epoch that it was given
    owner_id: int | None  # who is using it
    reported: Reported
    profile_version: int | None  # of that owner's profile, as told by now
    changed: bool  # whether the sync brought or changed anything


def seen(turn: Turn, synced: Iterable[Seen]) -> None:
    """Note that devices synced."""
    rows = [
        {
            "device_id": one.device.device_id,
            "epoch": one.device.epoch,
            "synced_at": turn.now_ms,
            "owner_id": one.owner_id,
            "erased_at": one.device.erased_at,
            "reported_epoch": one.reported.epoch,
            "reported_seq": one.reported.seq,
            "reported_after": one.reported.made_after,
            "profile_version": one.profile_version,
            "changed_at": turn.now_ms if one.changed else one.device.changed_at,
        }
        for one in synced
    ]
    update_rows(turn.connection, devices, sorted(rows, key=lambda row: row["device_id"]))


def find(store: Store, device_id: str) -> Device:
    """A device as it is now, for a request that is no sync.

    Raises:
        PermissionDenied: if it was revoked.
    """
    with store.read() as connection:
        return check(load(connection, {device_id})[device_id])


class Keys:
    """The public keys and roles of devices, each read from the store once: a device never changes them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: OrderedDict[str, tuple[Ed25519PublicKey, DeviceRole]] = OrderedDict()

    def of(self, device_id: str) -> tuple[Ed25519PublicKey, DeviceRole] | None:
        """None if no such device is enrolled."""
        held = self._held.get(device_id)
        if held is None:
            mine = select(devices.c.public_key, devices.c.role).where(devices.c.device_id == device_id)
            with self._store.read() as connection:
                row = connection.execute(mine).one_or_none()
            if row is None:
                return None
            held = Ed25519PublicKey.from_public_bytes(row.public_key), DeviceRole(row.role)
            while len(self._held) >= MAX_HELD_KEYS:
                self._held.popitem(last=False)
        self._held[device_id] = held
        return held


def authenticate(
    keys: Keys, challenges: Challenges, authorization: str | None, method: str, path: str, body: bytes, now_ms: int
) -> Signer:
    """The device that signed a request.

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
    held = keys.of(device_id)
    if held is None:
        raise AuthenticationError(f"device {device_id!r} is not enrolled here: enrol with POST /v1/devices")
    key, role = held
    challenged_at = challenges.check(challenge, device_id, now_ms)
    try:
        raw = base64.b64decode(signature + "=" * (-len(signature) % 4), altchars=b"-_", validate=True)
        key.verify(raw, signed_bytes(method, path, challenge, body))
    except (binascii.Error, ValueError, InvalidSignature):
        raise AuthenticationError(
            f"the signature of device {device_id!r} does not fit this request: sign method, path, challenge and the "
            "body as sent, after compression"
        ) from None
    return Signer(device_id, role, challenge, challenged_at)


def device_of(row: Row) -> Device:
    """A row of the table `devices`."""
    return Device(
        device_id=row.device_id,
        role=DeviceRole(row.role),
        epoch=row.epoch,
        enrolled_at=row.enrolled_at,
        owner_id=row.owner_id,
        changed_at=row.enrolled_at if row.changed_at is None else row.changed_at,
        revoked=row.revoked_at is not None,
        synced_at=row.synced_at,
        reported=None
        if row.reported_epoch is None
        else Reported(row.reported_epoch, row.reported_seq, row.reported_after or 0),
        erased_at=row.erased_at,
    )


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
