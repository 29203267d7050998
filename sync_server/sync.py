"""One sync: everything a device says and is told, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import Connection

from contracts.errors import PermissionDenied, WireError
from contracts.identity import DeviceRole
from contracts.sync import (
    BundleOffer,
    ProfileDelta,
    SeqRange,
    SyncRequest,
    SyncResponse,
    Verdict,
    VerdictKind,
)
from sync_server import consents, devices, people, profiles, progress, rounds
from sync_server.bundles import newest_bundle
from sync_server.devices import Device
from sync_server.identity import verify_tokens
from sync_server.ingest import ingest, own_key
from sync_server.intervals import missing, union, watermark
from sync_server.people import Owner
from sync_server.received import Received, read_event
from sync_server.settings import ServerSettings
from sync_server.sql_store import next_stamp
from sync_server.store import Store

MAX_GAPS = 1000  # the lowest gaps are told; the others once these are closed


@dataclass(frozen=True)
class Moment:
    """The transaction in which a sync happens."""

    connection: Connection
    now_ms: int
    stamp: int


def sync(store: Store, settings: ServerSettings, device_id: str, request: SyncRequest, format: str) -> SyncResponse:
    """Take a sync request and answer it; what the answer says is durable.

    Args:
        device_id: of the device that signed the request.
        format: content type of the request, and so of the events in it.

    Raises:
        WireError: if the request contradicts itself or the device's epoch.
        AuthenticationError: if an identity token is not good.
        PermissionDenied: if the request speaks for another device, or consents for an owner who is not proven.
    """
    if request.device_id != device_id:
        raise PermissionDenied(f"device {device_id!r} signed a request of {request.device_id!r}: sign your own")
    received = [read_event(raw, format) for raw in request.events]
    held = progress.checked(request.held)
    dropped = progress.checked(one.range for one in request.dropped)
    with store.write() as connection:
        at = Moment(connection, store.now_ms(), next_stamp(connection))
        device = _check_epoch(connection, devices.load(connection, device_id), request, store.generation)
        claims = verify_tokens(request.identity_tokens, settings.identity_key, settings.identity_audience, at.now_ms)
        people.prove(connection, device, claims, at.stamp, at.now_ms)
        _take_consents(at, device, request)
        owner = _current_owner(at, device, request)
        verdicts = ingest(connection, device, request, received, at.stamp, at.now_ms)
        progress.note_dropped(connection, device_id, request.epoch, request.dropped, at.now_ms)
        settled = _settle(connection, device, request.epoch, received, dropped)
        profile = _profile(at, device, request, owner, store.generation)
        task = None
        if owner and device.role is DeviceRole.PHONE and request.accepts_tasks:
            task = rounds.open_task(connection, owner.person_id, request.bundle_version, at.now_ms)
        epoch = request.epoch
        if any(verdict.kind is VerdictKind.CONFLICT for verdict in verdicts):
            epoch = devices.issue_epoch(connection, device).epoch
        devices.seen(connection, device, owner.id if owner else None, at.now_ms)
    newest = newest_bundle(Path(settings.repository))
    return SyncResponse(
        verdicts=verdicts,
        epoch=epoch,
        generation=store.generation,
        watermark=watermark(settled),
        gaps=tuple(SeqRange(first, last) for first, last in islice(missing(union([*settled, *held])), MAX_GAPS)),
        profile=profile,
        bundle=BundleOffer(version=newest, repository=settings.repository_path)
        if newest > request.bundle_version
        else None,
        task=task,
        server_time=at.now_ms,
        retry_after_s=settings.retry_changed_s if _changed(verdicts, profile) else settings.retry_idle_s,
    )


def _check_epoch(connection: Connection, device: Device, request: SyncRequest, generation: str) -> Device:
    """The device, with the epoch it uses known to the store.

    A device that synced with another life of the store (which was restored since) may rightly use an epoch that this
    one does not know.
    """
    if 0 < request.epoch <= device.epoch:
        return device
    if request.epoch and request.generation != generation:
        return devices.issue_epoch(connection, device, at_least=request.epoch)
    raise WireError(f"epoch {request.epoch} was never issued to this device: use {device.epoch}, or enrol again")


def _take_consents(at: Moment, device: Device, request: SyncRequest) -> None:
    names = {fact.owner for fact in request.consents}
    speakers = people.speaks_for(at.connection, device, names, at.stamp, at.now_ms)
    decisions = []
    for fact in request.consents:
        speaker = speakers[fact.owner]
        if isinstance(speaker, str):
            raise PermissionDenied(f"consent of {fact.owner!r} is refused: {speaker}")
        decisions.append((speaker, fact))
    consents.apply(at.connection, device, decisions, at.stamp, at.now_ms)


def _current_owner(at: Moment, device: Device, request: SyncRequest) -> Owner | None:
    """Who uses the device now, if that is proven; a till serves everybody and has none."""
    if request.owner is None or device.role is DeviceRole.TILL:
        return None
    speaker = people.speaks_for(at.connection, device, [request.owner], at.stamp, at.now_ms)[request.owner]
    return speaker if isinstance(speaker, Owner) else None


def _settle(
    connection: Connection,
    device: Device,
    epoch: int,
    received: Sequence[Received],
    dropped: list[tuple[int, int]],
) -> list[tuple[int, int]]:
    """Note what was received or dropped, and return all that is settled in the request's epoch."""
    newly = {epoch: dropped}
    for one in received:
        if key := own_key(device, one):
            newly.setdefault(key.epoch, []).append((key.seq, key.seq))
    return {number: progress.settle(connection, device.device_id, number, ranges) for number, ranges in newly.items()}[
        epoch
    ]


def _profile(
    at: Moment, device: Device, request: SyncRequest, owner: Owner | None, generation: str
) -> ProfileDelta | None:
    if owner is None:
        return None
    same = owner.id == device.owner_id and request.generation == generation
    return profiles.delta(at.connection, owner, request.profile_version if same else 0)


def _changed(verdicts: Sequence[Verdict], profile: ProfileDelta | None) -> bool:
    return profile is not None or any(verdict.kind is VerdictKind.ACCEPTED for verdict in verdicts)
