"""Fleets replay real households' weeks in virtual time, against a real server and under faults."""

import heapq
import secrets
from collections.abc import Callable
from itertools import count
from pathlib import Path

from contracts.events import EventType
from device_sim.clock import FleetTime
from device_sim.device import Happening
from device_sim.identity_provider import IdentityProvider
from device_sim.members import DAY_MS, KEEPING, Fleet, FleetPhone, FleetReport
from device_sim.phone import Moment
from device_sim.plan import Basket, FleetPlan, Household, purchases

BROWSE_MS = 10 * 60_000  # between looking at recommendations and paying
SHOWN = 10  # recommendations on the screen
VIEWED = 3  # items of a basket that were looked at before
TILL_BATCH = 400  # events of the past after which the till syncs
FLAT_BATTERY = 0.5  # share of the stretches offline in which the phone boots anew

Progress = Callable[[int, int], None]


def run_fleet(
    plan: FleetPlan,
    server_url: str,
    directory: Path,
    trusted_root: bytes,
    staff_token: str,
    identity_provider: IdentityProvider,
    time: FleetTime,
    progress: Progress = lambda done, total: None,
) -> FleetReport:
    """Replay a plan from its beginning to the last event on the server; arguments and errors as in `Fleet`."""
    fleet = Fleet(plan, server_url, directory, trusted_root, staff_token, identity_provider, time)
    try:
        Replay(fleet).run(progress)
        fleet.drain()
        return fleet.report()
    finally:
        fleet.close()


class Replay:
    """The actions of all members, in order of time."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._plan = fleet.plan
        self._random = fleet.random_state
        self._actions: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    def run(self, progress: Progress) -> None:
        """Live through the plan in order of time over all members.

        Args:
            progress: is told how many steps are done, of how many known so far.
        """
        self._schedule()
        done = 0
        while self._actions:
            at_ms, _, action = heapq.heappop(self._actions)
            self._fleet.time.advance_to(max(at_ms, self._fleet.time.now_ms()))
            action()
            done += 1
            progress(done, done + len(self._actions))

    def _schedule(self) -> None:
        till = self._fleet.till.device
        if not till.cache.device_id:
            for home in self._plan.households:
                till.register(home.card, KEEPING)
        for phone in self._fleet.phones:
            self._at(self._plan.start_ms, self._sync_daily, phone)
            for start_ms, stop_ms in self._stretches_offline():
                self._at(start_ms, self._go_offline, phone)
                self._at(stop_ms, self._come_online, phone)
            for basket in phone.household.baskets:
                if basket.channel != "till":
                    self._at(max(basket.at_ms - BROWSE_MS, self._plan.start_ms), self._browse, phone, basket)
                    self._at(basket.at_ms, self._buy, phone, basket)
                if basket.channel != "phone":
                    self._at(basket.at_ms, self._sell, phone.household, basket)

    def _stretches_offline(self) -> list[tuple[int, int]]:
        """Beginnings and ends, of exponential length, a day offline on average."""
        share, now_ms = self._plan.offline_share, float(self._plan.start_ms)
        stretches: list[tuple[int, int]] = []
        while share > 0:
            now_ms += self._random.expovariate(share / (1 - share) / DAY_MS)
            stop_ms = now_ms + self._random.expovariate(1 / DAY_MS)
            if stop_ms >= self._plan.ends_ms:
                break
            stretches.append((int(now_ms), int(stop_ms)))
            now_ms = stop_ms
        return stretches

    def _at(self, at_ms: int, action: Callable, *arguments: object) -> None:
        heapq.heappush(self._actions, (at_ms, next(self._order), lambda: action(*arguments)))

    def _sync_daily(self, phone: FleetPhone) -> None:
        self._sync(phone)
        next_ms = self._fleet.time.now_ms() + DAY_MS
        if next_ms <= self._plan.ends_ms:
            self._at(next_ms, self._sync_daily, phone)

    def _sync(self, phone: FleetPhone) -> None:
        """Sync if there is a network, and try again after a while if the answer is lost."""
        if phone.network.online and not phone.sync():
            self._at(self._fleet.time.now_ms() + phone.retry_wait_ms(), self._sync, phone)

    def _go_offline(self, phone: FleetPhone) -> None:
        phone.network.online = False
        phone.device.note(Moment.OFFLINE, "offline")
        if self._random.random() < FLAT_BATTERY:
            phone.device.clock.reboot(secrets.token_hex(8))

    def _come_online(self, phone: FleetPhone) -> None:
        phone.network.online = True
        phone.device.note(Moment.ONLINE, "online again")
        self._sync(phone)

    def _browse(self, phone: FleetPhone, basket: Basket) -> None:
        wanted = [line.item_id for line in basket.lines]
        shown: tuple[str, ...] = ()
        if phone.device.updater.active is not None:
            shown = phone.device.recommend(SHOWN).items
            phone.recommendations += 1
            phone.recommendations_offline += not phone.network.online
            phone.hits += not set(shown).isdisjoint(wanted)
        looked_at = (
            (EventType.RECOMMENDATION_SHOWN, shown),
            (EventType.VIEW, wanted[:VIEWED]),
            (EventType.RECOMMENDATION_TAPPED, [item for item in shown if item in wanted]),
            (EventType.ADD_TO_CART, wanted),
        )
        happenings = [Happening(type=kind, item_id=item) for kind, items in looked_at for item in items]
        phone.remember(phone.device.act(happenings))

    def _buy(self, phone: FleetPhone, basket: Basket) -> None:
        bought = phone.device.act(purchases(basket, self._plan.currency))
        phone.remember(bought)
        phone.device.note(Moment.BASKET, f"{len(bought)} items bought", len(bought))
        self._sync(phone)

    def _sell(self, home: Household, basket: Basket) -> None:
        till = self._fleet.till
        till.remember(till.device.sell(home.card, purchases(basket, self._plan.currency)))
        if self._fleet.time.now_ms() >= self._plan.start_ms or till.device.cache.unsettled() >= TILL_BATCH:
            till.sync()  # what does not get through goes with the next sale
