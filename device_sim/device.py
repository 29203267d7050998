"""What a phone and a till have in common: they record events and sync them."""

import random
import secrets
from collections.abc import Iterable
from pathlib import Path

import httpx
import msgspec

from contracts.consent import Consent, ConsentFact, Purpose
from contracts.errors import AuthenticationError
from contracts.events import Event, EventKey, EventType, Money
from contracts.identity import DeviceRole
from device_sim.cache import DEFAULT_CAPACITY, EventCache
from device_sim.client import SyncClient, SyncReport
from device_sim.clock import DeviceClock
from device_sim.database import Database
from device_sim.profile import HeldProfile

DATABASE = "device.sqlite"


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """What someone did, before the device adds who, when and its number."""

    type: EventType
    item_id: str | None = None
    quantity: int = 1
    price: Money | None = None
    order_id: str | None = None
    context: dict[str, str] = {}


class Device:
    """A device's whole state lies in its directory; opened again, it goes on where it was."""

    def __init__(
        self,
        directory: Path,
        http: httpx.Client,
        clock: DeviceClock,
        random_state: random.Random,
        *,
        capacity: int = DEFAULT_CAPACITY,
        content_type: str = "application/msgpack",
        role: DeviceRole = DeviceRole.PHONE,
        staff_token: str | None = None,
    ) -> None:
        """
        Args:
            directory: of this device alone.
            http: its network, with the server's address as base URL.
            clock: its clocks.
            random_state: its random choices.
            capacity: events that its cache holds.
            content_type: of its requests, one of `contracts.codec.FORMATS`.
            role: what it enrols as.
            staff_token: a till's proof.
        """
        self.clock = clock
        self.renumbered: dict[EventKey, EventKey] = {}  # since the device was opened
        self._database = Database(directory / DATABASE)
        self.cache = EventCache(self._database, capacity)
        self.profile = HeldProfile(self._database)
        self.client = SyncClient(
            http, self._database, self.cache, self.profile, clock, random_state, content_type, role, staff_token
        )

    def record(self, owner: str, happenings: Iterable[Happening]) -> tuple[Event, ...]:
        """Record what an owner did, now; all of it or, if power is lost, nothing."""
        return self.cache.record(
            Event(
                device_id="",
                epoch=0,
                seq=0,
                type=one.type,
                owner=owner,
                occurred_at=self.clock.wall_ms(),
                boot_id=self.clock.boot_id,
                uptime_ms=self.clock.uptime_ms(),
                item_id=one.item_id,
                quantity=one.quantity,
                price=one.price,
                order_id=one.order_id,
                context=one.context,
            )
            for one in happenings
        )

    def decide(self, owner: str, purpose: Purpose, granted: bool) -> None:
        """Record an owner's decision about consent, made while looking at what the device knows of earlier ones."""
        received = self.profile.consents if owner == self.profile.owner else {}
        standing = self.client.consents.standing(owner, purpose, received.get(purpose, Consent()))
        self.client.consents.add(
            ConsentFact(
                fact_id=secrets.token_hex(16),
                owner=owner,
                purpose=purpose,
                granted=granted,
                cites=standing.version,
                decided_at=self.clock.wall_ms(),
                boot_id=self.clock.boot_id,
                uptime_ms=self.clock.uptime_ms(),
            )
        )

    def exchange(
        self, identity_tokens: tuple[str, ...] = (), bundle_version: int = 0, accepts_tasks: bool = True
    ) -> SyncReport:
        """One sync, after enrolment where the server does not know this device (yet, or since it was restored).

        Raises:
            httpx.TransportError: if no answer came.
            InputError: if the server refuses.
        """
        if not self.cache.device_id:
            self._enrol()
        try:
            report = self.client.sync(identity_tokens, bundle_version, accepts_tasks)
        except AuthenticationError:
            self._enrol()
            report = self.client.sync(identity_tokens, bundle_version, accepts_tasks)
        self.renumbered.update(report.renumbered)
        return report

    def close(self) -> None:
        self._database.close()

    def _enrol(self) -> None:
        self.renumbered.update(self.client.enrol())
