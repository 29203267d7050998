"""The members of a fleet, phones and a till, and what can be asked of all of them."""

import random
import secrets
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import httpx
import msgspec

from contracts.consent import Purpose
from contracts.errors import CheckFailed
from contracts.events import Event, EventKey
from contracts.summary import Summary
from device_sim.clock import DeviceClock, FleetTime
from device_sim.count import Created, created
from device_sim.identity_provider import IdentityProvider
from device_sim.network import UnreliableNetwork
from device_sim.phone import Phone, TimelineEntry
from device_sim.plan import FleetPlan, Household, checked
from device_sim.till import Till

DAY_MS = 24 * 3_600_000
MAX_ATTEMPTS = 100  # to get an answer; at one lost answer in ten, three are seldom needed
REQUEST_TIMEOUT_S = 60.0
KEEPING = (Purpose.PERSONALIZATION, Purpose.ANALYTICS, Purpose.MODEL_TRAINING)
"""What every household allows, on the phone and for the card."""


class FleetReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet lived through since it was opened."""

    phones: int
    tills: int
    created: tuple[Created, ...]  # every event, under its last key
    sent: int  # events, each as often as a request with an answer carried it
    resent: int  # of these, events that an earlier request carried already
    syncs: int  # answered
    lost_answers: int  # after the server had committed
    dropped: int  # events that full caches gave up
    refused: tuple[str, ...]  # reasons of events that the server will not take
    recommendations: int
    recommendations_offline: int
    hits: int  # recommendations with an item of the basket that followed
    profiles: dict[str, Summary]  # login -> profile as its phone holds it
    owners: dict[str, tuple[str, ...]]  # login -> whose events that profile unifies
    timeline: tuple[TimelineEntry, ...]  # of the phone with the most varied life, one that may be in rounds first
    timeline_login: str


D = TypeVar("D", Phone, Till)


class Member(Generic[D]):
    """One device, its network, and an account of what it did."""

    def __init__(self, device: D, network: UnreliableNetwork) -> None:
        self.device: D = device
        self.network = network
        self.syncs = self.sent = self.resent = 0
        self.refused: list[str] = []
        self._created: dict[EventKey, Event] = {}

    def remember(self, events: Iterable[Event]) -> None:
        """Keep account of events just created."""
        self._created.update({event.key: event for event in events})

    def created(self) -> Iterator[Event]:
        """Every event created, under its last key."""
        for old, new in self.device.renumbered.items():
            if old in self._created:
                numbers = {"device_id": new.device_id, "epoch": new.epoch, "seq": new.seq}
                self._created[new] = msgspec.structs.replace(self._created.pop(old), **numbers)
        self.device.renumbered.clear()
        yield from self._created.values()

    def sync(self) -> bool:
        """Sync once; whether an answer came."""
        report = self.device.sync()
        if report is None:
            return False
        self.syncs += 1
        self.sent += report.sent
        self.resent += report.resent
        self.refused += [reason for _, reason in report.refused]
        return True

    def retry_wait_ms(self) -> int:
        """How long to wait after one more failure."""
        return int(self.device.client.backoff.failed() * 1000)


class FleetPhone(Member[Phone]):
    """A household's phone."""

    def __init__(self, phone: Phone, network: UnreliableNetwork, household: Household) -> None:
        super().__init__(phone, network)
        self.household = household
        self.recommendations = self.recommendations_offline = self.hits = 0


class Fleet:
    """Phones and a till whose state lies in one directory; opened again, they go on where they were."""

    def __init__(
        self,
        plan: FleetPlan,
        server_url: str,
        directory: Path,
        trusted_root: bytes,
        staff_token: str,
        identity_provider: IdentityProvider,
        time: FleetTime,
        tls: ssl.SSLContext | bool = True,
    ) -> None:
        """
        Args:
            plan: households and faults.
            server_url: of the sync server, without a path.
            directory: of this fleet alone.
            trusted_root: TUF root metadata shipped with the app.
            staff_token: with which the till enrols.
            identity_provider: whom the server trusts.
            time: shared with the server; begins at or before `plan.begins_ms`.
            tls: whom to trust where the address is https, see `device_sim.pinning`; by default whom httpx trusts.

        Raises:
            DataError: if the plan cannot be counted.
        """
        self.plan = checked(plan)
        self.time = time
        self._tls = tls
        self.random_state = random.Random(plan.seed)
        http, network = self._network(server_url)
        till = Till(directory / "till", http, self._clock(), self._seeded(), staff_token)
        self.till = Member(till, network)
        self.phones: list[FleetPhone] = []
        for home in plan.households:
            http, network = self._network(server_url)
            traits = {"device_class": "phone"} | home.traits
            clock = self._clock(wrong=self.random_state.random() < plan.wrong_clocks)
            phone = Phone(directory / home.household_id, http, clock, self._seeded(), trusted_root, traits)
            _log_in(phone, home, identity_provider)
            self.phones.append(FleetPhone(phone, network, home))

    @property
    def members(self) -> list[Member]:
        return [self.till, *self.phones]

    def drain(self) -> None:
        """Bring everybody online, send all there is, then let every phone learn what the others sent.

        Raises:
            CheckFailed: if a device's events do not get through.
        """
        for member in self.members:
            member.network.online = True
            self._sync_until_answered(member, drained=True)
        self.sync_all()

    def sync_all(self) -> int:
        """One answered sync of every phone: what a change on the server needs to reach them.

        Returns:
            federated updates that the server took meanwhile.

        Raises:
            CheckFailed: if a phone gets no answer.
        """
        before = sum(phone.device.updates_submitted for phone in self.phones)
        for phone in self.phones:
            self._sync_until_answered(phone)
        return sum(phone.device.updates_submitted for phone in self.phones) - before

    def report(self) -> FleetReport:
        """What the fleet has lived through since it was opened."""
        told = max(self.phones, key=lambda phone: (phone.household.federated, *_variety(phone.device)))
        return FleetReport(
            phones=len(self.phones),
            tills=1,
            created=tuple(created(event) for member in self.members for event in member.created()),
            sent=sum(member.sent for member in self.members),
            resent=sum(member.resent for member in self.members),
            syncs=sum(member.syncs for member in self.members),
            lost_answers=sum(member.network.lost_answers for member in self.members),
            dropped=sum(member.device.cache.dropped().total() for member in self.members),
            refused=tuple(reason for member in self.members for reason in member.refused),
            recommendations=sum(phone.recommendations for phone in self.phones),
            recommendations_offline=sum(phone.recommendations_offline for phone in self.phones),
            hits=sum(phone.hits for phone in self.phones),
            profiles={phone.household.login: phone.device.profile.summary() for phone in self.phones},
            owners={phone.household.login: phone.device.profile.owners for phone in self.phones},
            timeline=tuple(told.device.timeline),
            timeline_login=told.household.login,
        )

    def close(self) -> None:
        for member in self.members:
            member.device.close()
            member.network.close()

    def _sync_until_answered(self, member: Member, drained: bool = False) -> None:
        """Sync until an answer came, and with `drained` until nothing is left to send; time passes between attempts."""
        cache = member.device.cache
        for _ in range(MAX_ATTEMPTS):
            if not member.sync():
                self.time.advance_to(self.time.now_ms() + member.retry_wait_ms())
            elif not (drained and cache.unsettled()):
                return
        raise CheckFailed(
            f"{cache.unsettled()} events of device {cache.device_id!r} do not get through: see the server"
        )

    def _network(self, server_url: str) -> tuple[httpx.Client, UnreliableNetwork]:
        network = UnreliableNetwork(self.plan.lost_answers, self._seeded(), httpx.HTTPTransport(verify=self._tls))
        return httpx.Client(base_url=server_url, transport=network, timeout=REQUEST_TIMEOUT_S), network

    def _clock(self, wrong: bool = False) -> DeviceClock:
        wrong_by_ms = self.random_state.choice((-1, 1)) * self.random_state.randrange(DAY_MS, 30 * DAY_MS)
        return DeviceClock(self.time.now_ms, secrets.token_hex(8), wrong_by_ms if wrong else 0)

    def _seeded(self) -> random.Random:
        return random.Random(self.random_state.getrandbits(64))


def _log_in(phone: Phone, home: Household, identity_provider: IdentityProvider) -> None:
    known = phone.owner == home.login
    phone.log_in(home.login, lambda: (identity_provider.token(home.login, also=(home.card,)),))
    if not known:
        for purpose in (*KEEPING, *([Purpose.FEDERATED_TRAINING] if home.federated else [])):
            phone.decide(home.login, purpose, granted=True)


def _variety(phone: Phone) -> tuple[int, int]:
    return len({entry.kind for entry in phone.timeline}), len(phone.timeline)
