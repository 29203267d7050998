"""How a device comes to be known, within which quotas, and how staff put an end to it.

Enrolments are counted in the store, so that all workers count together; an enrolment is a transaction anyway. Nothing
that tells addresses apart outlives their hour.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable

from sqlalchemy import Connection, insert, select, text, update

from contracts.errors import AuthenticationError, PermissionDenied, TooManyError, UnknownError
from contracts.identity import DeviceRole
from contracts.sync import EnrolRequest, EnrolResponse, Revocation
from sync_server import attestation, audit_log
from sync_server.challenges import Challenges
from sync_server.devices import FIRST_EPOCH, Device, check, device_of, issue_epoch
from sync_server.settings import ServerSettings
from sync_server.staff import Role, actor
from sync_server.store import Store
from sync_server.tables import devices
from sync_server.turn import take_turn

HOUR_MS = 3_600_000
_COUNT = text(
    "INSERT INTO enrolments (source, hour, count) VALUES (:source, :hour, 1) "
    "ON CONFLICT (source) DO UPDATE SET count = enrolments.count + 1 RETURNING count"
)
_FORGET = text("DELETE FROM enrolments WHERE hour <> :hour")

Enrol = Callable[[EnrolRequest, str], EnrolResponse]


class NotAttested(AuthenticationError):
    """A device has to enrol again, with an attestation of the challenge."""

    def __init__(self, message: str, challenge: str) -> None:
        super().__init__(message)
        self.challenge = challenge


def enrolling(store: Store, settings: ServerSettings) -> Enrol:
    """The function that enrols a device's key, given the request and the network address it came from.

    A key that is enrolled already keeps its device and gets a new epoch: whoever enrols again has lost track of what
    it sent. An enrolment that somebody recorded does no more than that: its answer is worth nothing without the key,
    and the device goes on in the epoch it has.

    The function raises:
        AuthenticationError: if a device of the shop does not show a token of the staff.
        NotAttested: if the settings ask for an attestation and there is none of a challenge that is still good.
        PermissionDenied: if that token lacks the role `ingest`, the attestation is refused, or the key is enrolled in
            another role or revoked.
        TooManyError: if the quota of this hour is used up.

    Raises:
        ConfigError: if the settings name an attestation that cannot be loaded.
    """
    challenges = Challenges(settings.secret_key)
    attest = attestation.load(settings.attestation) if settings.attestation else None

    def enrol(request: EnrolRequest, address: str) -> EnrolResponse:
        now_ms = store.now_ms()
        hour = now_ms // HOUR_MS
        if request.role is DeviceRole.PHONE:
            named = f"{hour} {address}".encode()
            source = hmac.digest(settings.secret_key, b"pocketrec enrolments " + named, hashlib.sha256).hex()
            quota, name = settings.enrolments_per_address_and_hour, "enrolments_per_address_and_hour"
        else:
            source = f"staff {actor(settings.staff, request.staff_token, Role.INGEST)}"
            quota, name = settings.enrolments_per_staff_and_hour, "enrolments_per_staff_and_hour"
        if attest is not None:
            _check_attested(challenges, request, now_ms)
            if refused := attest(request):
                raise PermissionDenied(f"the attestation is refused: {refused}")
        with take_turn(store) as turn:
            connection = turn.connection
            connection.execute(_FORGET, {"hour": hour})
            if connection.execute(_COUNT, {"source": source, "hour": hour}).scalar_one() > quota:
                wait_s = -(-((hour + 1) * HOUR_MS - now_ms) // 1000)
                raise TooManyError(f"{name} = {quota} is used up: enrol again in {wait_s} s", wait_s)
            device = _enrolled(connection, request, now_ms)
            if request.role is not DeviceRole.PHONE:
                audit_log.record(turn, source, "enrol_device", "", {"device_id": device.device_id, "role": device.role})
        return EnrolResponse(
            device_id=device.device_id,
            epoch=device.epoch,
            generation=store.generation,
            challenge=challenges.issue(device.device_id, now_ms),
        )

    return enrol


def revoke(store: Store, staff_name: str, device_id: str) -> Revocation:
    """Answer a device with 403 from now on; what it sent stays. Revoked again, it keeps the first time.

    Raises:
        UnknownError: if there is no such device.
    """
    with take_turn(store) as turn:
        mine = devices.c.device_id == device_id
        row = turn.connection.execute(select(devices.c.revoked_at).where(mine)).one_or_none()
        if row is None:
            raise UnknownError(f"device {device_id!r} is not enrolled here: name one that is")
        revoked_at = turn.now_ms if row.revoked_at is None else row.revoked_at
        turn.connection.execute(update(devices).where(mine).values(revoked_at=revoked_at))
        audit_log.record(turn, f"staff {staff_name}", "revoke_device", "", {"device_id": device_id})
    return Revocation(device_id=device_id, revoked_at=revoked_at)


def _check_attested(challenges: Challenges, request: EnrolRequest, now_ms: int) -> None:
    key = request.public_key.hex()
    try:
        challenges.check(request.challenge, key, now_ms)
        missing = not request.attestation
    except AuthenticationError:
        missing = True
    if missing:
        said = "this server asks for an attestation: let the platform attest the challenge in this answer's header"
        raise NotAttested(said, challenges.issue(key, now_ms))


def _enrolled(connection: Connection, request: EnrolRequest, now_ms: int) -> Device:
    known = connection.execute(select(devices).where(devices.c.public_key == request.public_key)).one_or_none()
    if known is not None:
        device = check(device_of(known))
        if device.role is not request.role:
            raise PermissionDenied(f"this key is enrolled as a {device.role}: enrol a {request.role} with its own")
        return issue_epoch(connection, device)
    device = Device(secrets.token_hex(16), request.role, FIRST_EPOCH, now_ms, owner_id=None, changed_at=now_ms)
    row = {"device_id": device.device_id, "role": device.role, "epoch": device.epoch}
    connection.execute(insert(devices).values(**row, public_key=request.public_key, enrolled_at=now_ms))
    return device
