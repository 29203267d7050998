"""A whole sync: everything a device says and is told, in one transaction, which several syncs may share.

A transaction's price is mostly its own, above all the wait for the disk. So what costs processor time is done before
(`prepare`), and `sync_together` answers all that wait in as many statements as one sync would take.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from contracts.errors import InputError, PermissionDenied, WireError
from contracts.events import EventKey
from contracts.identity import DeviceRole
from contracts.rounds import RoundTask
from contracts.sync import (
    BundleOffer,
    ProfileDelta,
    SeqRange,
    SyncRequest,
    SyncResponse,
    Verdict,
    VerdictKind,
)
from sync_server import consents, consistency, devices, people, profiles, progress, rounds
from sync_server.bundles import newest_bundle
from sync_server.consents import Allowed, Decision
from sync_server.devices import Device, Reported, Seen
from sync_server.event_time import Known, fix_decision, made_after
from sync_server.identity import Proof
from sync_server.ingest import Batch, ingest, own_keys
from sync_server.intervals import Range, missing, union, watermark
from sync_server.people import Owner, Speakers
from sync_server.profiles import Added, Asked
from sync_server.progress import Life
from sync_server.received import Received, read_event
from sync_server.settings import ServerSettings
from sync_server.store import Store
from sync_server.turn import Turn, take_turn

MAX_GAPS = 1000  # the lowest gaps are told; the others once these are closed


@dataclass(frozen=True)
class Prepared:
    """A request as far as it can be read without the store."""

    device_id: str
    request: SyncRequest
    received: Sequence[Received]
    held: list[Range]
    dropped: list[Range]
    claims: tuple[Proof, ...]
    owners: frozenset[str]  # that are spoken for, but for consents
    nobody: dict[str, str]  # placeholders among the names, each with the reason why it is refused
    mentioned: frozenset[str]  # these, and others that are only asked about


@dataclass(frozen=True)
class _Taken:
    """A request whose turn it is."""

    place: int  # among those of the turn
    device: Device
    prepared: Prepared
    keys: list[EventKey | None]  # of its events, as `ingest.own_keys` found them
    newly: Mapping[Life, list[Range]]  # what it settles


def prepare(settings: ServerSettings, device_id: str, request: SyncRequest, format: str, now_ms: int) -> Prepared:
    """Read a request.

    Args:
        settings: of the server.
        device_id: of the device that signed the request.
        request: as it came.
        format: its content type, and so that of the events in it.
        now_ms: milliseconds since 1970, for tokens that expire.

    Raises:
        WireError: if the request contradicts itself, or an owner is none.
        AuthenticationError: if an identity token is not good.
        PermissionDenied: if the request speaks for another device.
    """
    if request.device_id != device_id:
        raise PermissionDenied(f"device {device_id!r} signed a request of {request.device_id!r}: sign your own")
    received = [read_event(raw, format) for raw in request.events]
    claims = settings.issuer.verify(request.identity_tokens, now_ms)
    current = {request.owner} if request.owner else set()
    owners = frozenset(current.union(one.owner for one in received if one.owner))
    deciding = {fact.owner for fact in request.consents}
    rules = settings.rules
    objections = {name: rules.objection(name) for name in {*owners, *deciding, *request.known_owners}}
    nobody = {name: reason for name, reason in objections.items() if reason}
    for name in sorted(deciding & nobody.keys()):
        raise PermissionDenied(f"consent of {name!r} is refused: {nobody[name]}")
    return Prepared(
        device_id=device_id,
        request=request,
        received=received,
        held=progress.checked(request.held),
        dropped=progress.checked(one.range for one in request.dropped),
        claims=claims,
        owners=owners - nobody.keys(),
        nobody=nobody,
        mentioned=owners.union(request.known_owners, *((claim.sub, *claim.also) for claim in claims)),
    )


def sync(store: Store, settings: ServerSettings, device_id: str, request: SyncRequest, format: str) -> SyncResponse:
    """Take one request and answer it; what the answer says is durable.

    Raises:
        WireError: if the request contradicts itself or the device's epoch.
        AuthenticationError: if an identity token is not good.
        PermissionDenied: if the request speaks for another device, or consents for an owner who is not proven, or the
            device was revoked.
    """
    (answer,) = sync_together(store, settings, [prepare(settings, device_id, request, format, store.now_ms())])
    if isinstance(answer, InputError):
        raise answer
    return answer


def sync_together(
    store: Store, settings: ServerSettings, prepared: Sequence[Prepared]
) -> list[SyncResponse | InputError]:
    """Take the requests of several devices in one transaction.

    The outcome is that of taking them one after the other, links first, then consents, then events. A request that
    cannot be taken changes nothing and gets the error that it would have got alone.

    Args:
        store: what the answers say is durable in it when this returns.
        settings: of the server.
        prepared: each of another device.
    """
    with take_turn(store) as turn:
        enrolled = devices.load(turn.connection, {one.device_id for one in prepared})
        answers: list[SyncResponse | InputError | None] = [None] * len(prepared)
        asking: list[_Taken] = []
        for place, one in enumerate(prepared):
            try:
                device = _check_epoch(devices.check(enrolled[one.device_id]), one.request, store.generation)
            except InputError as error:
                answers[place] = error
            else:
                keys = own_keys(device, one.received)
                asking.append(_Taken(place, device, one, keys, _newly(device, one, keys)))
        before = progress.settled(turn.connection, {life for one in asking for life in one.newly})
        after: dict[Life, list[Range]] = {}
        taken: list[_Taken] = []
        decisions: list[Decision] = []
        for some in asking:
            try:
                settled = progress.added(before, some.newly)
                progress.check_settled(settled)
                device = some.device
                if not _holds_erased(device, some.prepared.request):
                    device = replace(device, erased_at=None)
                    if some.prepared.claims or some.prepared.request.consents:
                        with turn.connection.begin_nested():
                            people.prove(turn, device, some.prepared.claims, settings.rules.limits)
                            decisions.extend(_decisions(turn, device, some.prepared.request))
                taken.append(replace(some, device=device))
                after |= settled
            except InputError as error:
                answers[some.place] = error
        consents.apply(turn, decisions)
        found = _answer(turn, store.generation, settings, taken, before, after)
        for some, answer in zip(taken, found, strict=True):
            answers[some.place] = answer
    return [answer for answer in answers if answer is not None]


def _answer(
    turn: Turn,
    generation: str,
    settings: ServerSettings,
    taken: Sequence[_Taken],
    before: Mapping[Life, list[Range]],
    after: Mapping[Life, list[Range]],
) -> list[SyncResponse]:
    """Events, progress, profiles and tasks of requests that are taken."""
    connection = turn.connection
    known = people.look_up(turn, frozenset[str]().union(*(one.prepared.mentioned for one in taken)))
    somebody = people.speakers(turn, [(one.device, one.prepared.owners) for one in taken], known)
    speakers: list[Speakers] = [{**some, **one.prepared.nobody} for some, one in zip(somebody, taken, strict=True)]
    persons = {who.person_id for some in speakers for who in some.values() if isinstance(who, Owner)}
    families = people.families(connection, persons)
    allowed, own = consents.of_families(connection, families)
    batches = [
        Batch(one.device, one.prepared.request, one.prepared.received, one.keys, some)
        for one, some in zip(taken, speakers, strict=True)
    ]
    verdicts, added = ingest(turn, batches, allowed, before)
    progress.note_dropped(
        turn, [((one.device_id, one.request.epoch), one.request.dropped) for one in (some.prepared for some in taken)]
    )
    progress.settle(connection, before, after)
    users = [_current_owner(batch) for batch in batches]
    named = [[known[name] for name in one.prepared.mentioned if name in known] for one in taken]
    asked = [
        Asked(
            owner=user,
            base=batch.request.profile_version if _goes_on(batch, user, generation) else 0,
            named=names,
            family=families[user.person_id],
            allowed=allowed[user.person_id],
            own=own[user.id],
        )
        if user
        else None
        for batch, user, names in zip(batches, users, named, strict=True)
    ]
    told = _profiles(turn, batches, asked, added)
    tasks = _tasks(turn, batches, users, allowed)
    leaving = [_after(batch, found) for batch, found in zip(batches, verdicts, strict=True)]
    synced = [
        Seen(
            device=device,
            owner_id=user.id if user else None,
            reported=_reported(one),
            profile_version=delta.version if delta else one.prepared.request.profile_version if user else None,
            changed=delta is not None or any(verdict.kind is VerdictKind.ACCEPTED for verdict in found),
        )
        for one, device, user, delta, found in zip(taken, leaving, users, told, verdicts, strict=True)
    ]
    devices.seen(turn, synced)
    waits = _waits(turn, settings, synced, users)
    newest = newest_bundle(Path(settings.repository))
    answers = []
    for one, device, found, profile, task, wait in zip(taken, leaving, verdicts, told, tasks, waits, strict=True):
        request = one.prepared.request
        present = after[device.device_id, request.epoch]
        gaps = islice(missing(union([*present, *one.prepared.held])), MAX_GAPS)
        answers.append(
            SyncResponse(
                verdicts=found,
                epoch=device.epoch if device.epoch > one.device.epoch else request.epoch,
                generation=generation,
                watermark=watermark(present),
                gaps=tuple(SeqRange(first, last) for first, last in gaps),
                profile=profile,
                bundle=BundleOffer(version=newest, repository=settings.repository_path)
                if newest > request.bundle_version
                else None,
                task=task,
                server_time=turn.now_ms,
                retry_after_s=wait,
            )
        )
    return answers


def _waits(turn: Turn, settings: ServerSettings, synced: Sequence[Seen], users: Sequence[Owner | None]) -> list[int]:
    """When each device should come back, in seconds; only for those to which nothing happened the store is asked."""
    quiet = {user.person_id for one, user in zip(synced, users, strict=True) if user and not one.changed}
    shares = consistency.of_people(turn.connection, quiet, turn.now_ms)
    return [
        settings.retry_changed_s
        if one.changed
        else consistency.retry_after_s(
            settings,
            turn.now_ms - one.device.changed_at,
            shares[user.person_id].share if user and user.person_id in shares else 1.0,
        )
        for one, user in zip(synced, users, strict=True)
    ]


def _check_epoch(device: Device, request: SyncRequest, generation: str) -> Device:
    """The device, which may use its epoch: one that the store knows, or will once the request is taken.

    A device that synced with another life of the store (which was restored since) may rightly use an epoch that this
    one does not know.
    """
    if 0 < request.epoch <= device.epoch:
        return device
    if request.epoch and request.generation != generation:
        return devices.with_new_epoch(device, at_least=request.epoch)
    raise WireError(f"epoch {request.epoch} was never issued to this device: use {device.epoch}, or enrol again")


def _holds_erased(device: Device, request: SyncRequest) -> bool:
    """Whether a device still holds the profile of somebody who was erased."""
    return device.erased_at is not None and request.owner is not None and request.profile_version > 0


def _decisions(turn: Turn, device: Device, request: SyncRequest) -> list[Decision]:
    """A request's decisions about consent, but for those that were made before an erasure.

    Raises:
        PermissionDenied: if one is of an owner for whom the device may not speak.
    """
    if not request.consents:
        return []
    names = {fact.owner for fact in request.consents}
    (speakers,) = people.speakers(turn, [(device, names)], people.look_up(turn, names))
    denied = {name: speaker for name, speaker in speakers.items() if isinstance(speaker, str)}
    erased_at = people.erasures(turn, denied.keys() | {request.owner or ""}) if denied else {}
    unaware = request.profile_version > 0 and request.owner in erased_at  # is told so by this answer
    # Facts travel with every request until its answer is heard: one that the store does not know was made since the
    # last request was, or it was barred, and its device has not heard so.
    heard = request.heard is not None and request.heard.server_time == device.synced_at
    surely = device.reported.made_after if device.reported and heard else 0
    known = Known(device.synced_at or 0, turn.now_ms, surely)
    found: list[Decision] = []
    for fact in request.consents:
        speaker = speakers[fact.owner]
        made = fix_decision(fact, request, turn.now_ms, known)
        if isinstance(speaker, str):
            gone = erased_at.get(fact.owner, -1)
            unclear = made.uncertain and fact.decided_at is not None
            if known.earliest <= gone or (gone >= 0 and (unaware or unclear or made.time_ms <= gone)):
                continue  # of before the erasure, with which its proof went; answers that say so can be lost
            raise PermissionDenied(f"consent of {fact.owner!r} is refused: {speaker}")
        if not speaker.bars(made):
            found.append(Decision(speaker, fact, f"device {device.device_id}", device.device_id, made.time_ms))
    return found


def _current_owner(batch: Batch) -> Owner | None:
    """Who uses the device now, if that is proven; a till serves everybody, and has none as one that has to forget."""
    if batch.request.owner is None or batch.device.role is DeviceRole.TILL:
        return None
    if batch.device.erased_at is not None:
        return None
    speaker = batch.speakers[batch.request.owner]
    return speaker if isinstance(speaker, Owner) else None


def _newly(device: Device, one: Prepared, keys: Iterable[EventKey | None]) -> dict[Life, list[Range]]:
    """What is received or dropped, of the request's own epoch and of any other that an event names."""
    newly: dict[Life, list[Range]] = defaultdict(list)
    newly[device.device_id, one.request.epoch].extend(one.dropped)
    for key in keys:
        if key:
            newly[key.device_id, key.epoch].append((key.seq, key.seq))
    return newly


def _reported(one: _Taken) -> Reported:
    """What the requests of an epoch tell together; nothing while a device has to forget, as it is not listened to."""
    device, request = one.device, one.prepared.request
    before = device.reported
    same = before if before and before.epoch == request.epoch else Reported(request.epoch, -1, 0)
    spoken_of = [(0, same.seq), *one.newly[device.device_id, request.epoch], *one.prepared.held]
    after = 0 if device.erased_at is not None else max(same.made_after, made_after(request))
    return Reported(request.epoch, max(last for _, last in spoken_of), after)


def _told_to_forget(turn: Turn, batches: Sequence[Batch]) -> list[bool]:
    """Which devices hold the profile of an owner who was erased.

    Those of which that is known, and any other (a restored phone, a copy of one that was told) that holds a profile
    without proof of its owner, whom a tombstone bars.
    """
    unproven = [_holds_unproven(batch) for batch in batches]
    gone = people.erasures(turn, {name for name in unproven if name})
    return [batch.device.erased_at is not None or name in gone for batch, name in zip(batches, unproven, strict=True)]


def _holds_unproven(batch: Batch) -> str | None:
    """The owner whose profile a device holds without proof, None if it does not."""
    name = batch.request.owner
    if name is None or batch.device.role is DeviceRole.TILL or isinstance(batch.speakers[name], Owner):
        return None
    return name if batch.request.profile_version else None


def _goes_on(batch: Batch, user: Owner, generation: str) -> bool:
    """Whether what a device holds of a profile is of this owner, and of this life of the store."""
    return user.id == batch.device.owner_id and batch.request.generation == generation


def _profiles(
    turn: Turn, batches: Sequence[Batch], asked: Sequence[Asked | None], added: Added
) -> list[ProfileDelta | None]:
    known = iter(profiles.deltas(turn, [one for one in asked if one], added))
    return [
        ProfileDelta(owner=batch.request.owner or "", base_version=0, version=0, erased=True)
        if forgets
        else next(known)
        if one
        else None
        for batch, one, forgets in zip(batches, asked, _told_to_forget(turn, batches), strict=True)
    ]


def _tasks(
    turn: Turn, batches: Sequence[Batch], users: Sequence[Owner | None], allowed: Mapping[int, Allowed]
) -> list[RoundTask | None]:
    """The open federated task of each phone that may take one."""
    asking = {
        place: (user.person_id, batch.request.bundle_version)
        for place, (batch, user) in enumerate(zip(batches, users, strict=True))
        if user and batch.device.role is DeviceRole.PHONE and batch.request.accepts_tasks
    }
    found = rounds.open_tasks(turn, set(asking.values()), allowed)
    return [found.get(asking[place]) if place in asking else None for place in range(len(batches))]


def _after(batch: Batch, verdicts: Sequence[Verdict]) -> Device:
    """The device, with a new epoch for what it creates from now on where a key was taken by another payload."""
    conflict = any(verdict.kind is VerdictKind.CONFLICT for verdict in verdicts)
    return devices.with_new_epoch(batch.device) if conflict else batch.device
