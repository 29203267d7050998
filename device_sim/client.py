"""The sync client: enrols the device, and does a whole sync in one request."""

import random
import secrets
from collections.abc import Callable
from typing import TypeVar

import httpx
import msgspec
import zstandard

from contracts import codec
from contracts.errors import (
    AuthenticationError,
    InputError,
    LimitError,
    PermissionDenied,
    WireError,
)
from contracts.events import EventKey
from contracts.identity import DeviceRole
from contracts.people import Forgotten, PersonRequest
from contracts.rounds import RoundReceipt, RoundTask, RoundUpdate
from contracts.sync import (
    CHALLENGE_HEADER,
    MAX_CONSENTS,
    MAX_EVENTS,
    MAX_KNOWN_OWNERS,
    BundleOffer,
    EnrolRequest,
    EnrolResponse,
    Heard,
    Problem,
    SyncRequest,
    SyncResponse,
    VerdictKind,
)
from device_sim.backoff import Backoff
from device_sim.cache import EventCache
from device_sim.clock import DeviceClock, TimeFix
from device_sim.consents import ConsentQueue
from device_sim.database import Database
from device_sim.device_key import DeviceKey
from device_sim.profile import HeldProfile

DEVICES_PATH = "/v1/devices"
SYNC_PATH = "/v1/sync"
ROUNDS_PATH = "/v1/rounds"
ERASE_PATH = "/v1/people/erase"
_COMPRESSION_LEVEL = 3
_CHALLENGE, _NO_CHALLENGE = "challenge", b"none"
_ERASURE = "erasure"  # the wish to be forgotten, until it is answered
T = TypeVar("T")
Attest = Callable[[str], bytes]
"""The platform's word, over the device's key and a challenge of the server, that this is the app on a real device."""
_ERRORS: dict[int, type[InputError]] = {401: AuthenticationError, 403: PermissionDenied, 413: LimitError}


class SyncReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one answered sync brought."""

    sent: int  # events
    resent: int  # of these, events that an earlier request carried already
    verdicts: dict[VerdictKind, int]
    refused: tuple[tuple[EventKey, str], ...]  # quarantined or refused, with the reason
    renumbered: tuple[tuple[EventKey, EventKey], ...]  # old key, new key
    profile_version: int  # held now; 0: none
    profile_changed: bool
    erased: bool  # the owner was erased: all of theirs is forgotten, and the device has no owner
    bundle: BundleOffer | None
    task: RoundTask | None
    unsettled: int  # events left to send
    retry_after_s: int


class SyncClient:
    """One device's side of the sync protocol. What it learns from an answer, it keeps in one transaction."""

    def __init__(
        self,
        http: httpx.Client,
        database: Database,
        cache: EventCache,
        profile: HeldProfile,
        clock: DeviceClock,
        random_state: random.Random,
        content_type: str = "application/msgpack",
        role: DeviceRole = DeviceRole.PHONE,
        staff_token: str | None = None,
        attest: Attest | None = None,
    ) -> None:
        """
        Args:
            http: with the server's address as base URL.
            database: the device's file, in which `cache` and `profile` lie.
            clock: the device's clocks.
            random_state: spreads retries.
            content_type: one of `contracts.codec.FORMATS`.
            role: what the device enrols as.
            staff_token: a till's proof.
            attest: what the platform offers; a server that asks for an attestation refuses whoever has none.
        """
        self.consents = ConsentQueue(database)
        self.backoff = Backoff(random_state)
        self._http = http
        self._database = database
        self._cache = cache
        self._profile = profile
        self._clock = clock
        self._content_type = content_type
        self._key = DeviceKey(database)
        self._enrolment = EnrolRequest(public_key=self._key.public_key, role=role, staff_token=staff_token)
        self._attest = attest
        self._limit = MAX_EVENTS

    def enrol(self) -> tuple[tuple[EventKey, EventKey], ...]:
        """Get a device id and an epoch from the server, and number what was recorded before.

        Returns:
            old and new key of events that were numbered anew.

        Raises:
            httpx.TransportError: if no answer came; to enrol again does no harm.
            InputError: if the server refuses.
        """
        try:
            answer = self._post(DEVICES_PATH, self._enrolment, EnrolResponse, signed=False)
        except AuthenticationError:
            challenge = self._database.get(_CHALLENGE)
            if self._attest is None or challenge is None:
                raise
            attested = msgspec.structs.replace(
                self._enrolment, challenge=challenge.decode(), attestation=self._attest(challenge.decode())
            )
            answer = self._post(DEVICES_PATH, attested, EnrolResponse, signed=False)
        self.backoff.succeeded()
        with self._database.transaction():
            if answer.device_id != self._cache.device_id:
                self._profile.forget()  # its versions are those of a store that is gone
            self._database.put(_CHALLENGE, answer.challenge.encode())
            return self._cache.adopt(answer.device_id, answer.epoch, answer.generation)

    def sync(
        self, identity_tokens: tuple[str, ...] = (), bundle_version: int = 0, accepts_tasks: bool = True
    ) -> SyncReport:
        """Send what is due and take the answer.

        Args:
            identity_tokens: proofs of the owners this device speaks for.
            bundle_version: held now.
            accepts_tasks: false on a low battery or a metered network.

        Raises:
            httpx.TransportError: if no answer came; the server may have acted, and the next sync finds out.
            InputError: if the server refuses the request; nothing is changed on either side.
        """
        while True:
            consents = self.consents.pending()
            # An event must not overtake the decision that lets it be kept.
            batch = self._cache.next_batch(self._limit if len(consents) < MAX_CONSENTS else 0)
            request = SyncRequest(
                device_id=self._cache.device_id,
                epoch=batch.epoch,
                generation=self._cache.generation,
                sent_at=self._clock.wall_ms(),
                boot_id=self._clock.boot_id,
                uptime_ms=self._clock.uptime_ms(),
                heard=self._heard(),
                events=tuple(msgspec.Raw(codec.encode(event, self._content_type)) for event in batch.events),
                held=batch.held,
                dropped=batch.dropped,
                owner=self._profile.owner,
                known_owners=self._known_owners(),
                identity_tokens=identity_tokens,
                consents=consents,
                profile_version=self._profile.version,
                bundle_version=bundle_version,
                accepts_tasks=accepts_tasks,
            )
            try:
                answer = self._post(SYNC_PATH, request, SyncResponse)
                break
            except LimitError:
                if len(batch.events) <= 1:
                    raise
                self._limit = len(batch.events) // 2
        self._limit = MAX_EVENTS
        with self._database.transaction():
            settled = self._cache.settle(batch, request, answer)
            erased = answer.profile is not None and answer.profile.erased
            changed = not erased and answer.profile is not None and self._profile.apply(answer.profile)
            if not erased:
                self.consents.confirm(request.consents)
            elif self._profile.owner == request.owner:
                self._forget_owner()
            fix = TimeFix(answer.server_time, request.sent_at, request.boot_id, request.uptime_ms)
            self._database.put("time_fix", codec.encode(fix))
            heard = Heard(
                server_time=answer.server_time, boot_id=self._clock.boot_id, uptime_ms=self._clock.uptime_ms()
            )
            self._database.put("heard", codec.encode(heard))
        self.backoff.succeeded()
        return SyncReport(
            sent=len(batch.events),
            resent=batch.resent,
            verdicts=settled.verdicts,
            refused=settled.refused,
            renumbered=settled.renumbered,
            profile_version=self._profile.version,
            profile_changed=changed,
            erased=erased,
            bundle=answer.bundle,
            task=answer.task,
            unsettled=self._cache.unsettled(),
            retry_after_s=answer.retry_after_s,
        )

    def _known_owners(self) -> tuple[str, ...]:
        """Further owners of events on the device: some may turn out to be whom the profile is asked of."""
        current = self._profile.owner
        if current is None:
            return ()
        return tuple(owner for owner in self._cache.owners(MAX_KNOWN_OWNERS) if owner != current)

    def _forget_owner(self) -> None:
        """Forget the current owner and whoever is known to be the same person."""
        gone = {*self._profile.owners, *([self._profile.owner] if self._profile.owner else [])}
        self._cache.give_up(gone)
        self.consents.give_up(gone)
        self._profile.change_owner(None)

    def time_fix(self) -> TimeFix | None:
        """What the last answer told about the device's clocks."""
        value = self._database.get("time_fix")
        return None if value is None else codec.decode(value, TimeFix)

    def _heard(self) -> Heard | None:
        """When the last answer came; of an earlier boot it is worth nothing."""
        value = self._database.get("heard")
        return None if value is None else codec.decode(value, Heard)

    def submit_update(self, update: RoundUpdate) -> RoundReceipt:
        """Hand in a federated update.

        Raises:
            httpx.TransportError: if no answer came; the same update may be sent again.
            InputError: if the server refuses the request.
        """
        return self._post(f"{ROUNDS_PATH}/{update.task_id}", update, RoundReceipt)

    def erase(self, identity_token: str) -> Forgotten:
        """Have the server forget who a token proves.

        Raises:
            httpx.TransportError: if no answer came: asked again, it is the same wish, which is carried out once.
            InputError: if the server refuses, or knows nobody of that name.
        """
        wish = self._database.get(_ERASURE) or secrets.token_hex(16).encode()
        self._database.put(_ERASURE, wish)
        asked = PersonRequest(identity_token=identity_token, request_id=wish.decode())
        try:
            answer = self._post(ERASE_PATH, asked, Forgotten)
        except InputError:
            self._database.put(_ERASURE, None)
            raise
        self._database.put(_ERASURE, None)
        return answer

    def _post(self, path: str, message: object, answer: type[T], signed: bool = True) -> T:
        body = zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL).compress(codec.encode(message, self._content_type))
        headers = {"Content-Type": self._content_type, "Accept": self._content_type, "Content-Encoding": "zstd"}
        response = self._send(path, body, headers, signed)
        content_type = response.headers.get("Content-Type", "").partition(";")[0]
        if response.is_success:
            return codec.decode(response.content, answer, content_type)
        raise self._error(response, content_type)

    def _send(self, path: str, body: bytes, headers: dict[str, str], signed: bool) -> httpx.Response:
        """Send a body; where the challenge it is signed over is too old, once more with the one that is answered."""
        for _ in range(2):
            if signed:
                challenge = (self._database.get(_CHALLENGE) or _NO_CHALLENGE).decode()
                signature = self._key.authorization(self._cache.device_id, "POST", path, challenge, body)
                headers = {**headers, "Authorization": signature}
            response = self._http.post(path, content=body, headers=headers)
            newer = response.headers.get(CHALLENGE_HEADER)
            if newer is not None:
                self._database.put(_CHALLENGE, newer.encode())
            if response.status_code != 401 or newer is None or not signed:
                break
        return response

    def _error(self, response: httpx.Response, content_type: str) -> Exception:
        """The contract's error of an answer that is no success."""
        if response.status_code >= 500 or response.status_code == 429:
            wait_s = response.headers.get("Retry-After", "")
            self.backoff.asked(int(wait_s) if wait_s.isdigit() else 0)
            return httpx.ReadError(f"the server answers {response.status_code}", request=response.request)
        try:
            detail = codec.decode(response.content, Problem, content_type.replace("problem+", "")).detail
        except WireError:
            detail = f"the server answers {response.status_code} without saying why"
        return _ERRORS.get(response.status_code, WireError)(detail)
