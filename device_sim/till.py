"""A till: sells to whoever shows a loyalty card, and syncs through the same API as phones."""

import random
from collections.abc import Iterable
from pathlib import Path

import httpx

from contracts.consent import Purpose
from contracts.events import Event
from contracts.identity import DeviceRole
from device_sim.client import SyncReport
from device_sim.clock import DeviceClock
from device_sim.device import Device, Happening

CAPACITY = 200_000  # events: a till has a disk


class Till(Device):
    """A device of the shop, enrolled with the staff's token."""

    def __init__(
        self, directory: Path, http: httpx.Client, clock: DeviceClock, random_state: random.Random, staff_token: str
    ) -> None:
        super().__init__(
            directory,
            http,
            clock,
            random_state,
            capacity=CAPACITY,
            role=DeviceRole.TILL,
            staff_token=staff_token,
        )

    def register(self, card: str, purposes: Iterable[Purpose]) -> None:
        """Record what the owner of a card agreed to when getting it."""
        for purpose in purposes:
            self.decide(card, purpose, granted=True)

    def sell(self, card: str, purchases: Iterable[Happening]) -> tuple[Event, ...]:
        """Record purchases of whoever shows this card."""
        return self.record(card, purchases)

    def sync(self) -> SyncReport | None:
        """Sync once.

        Returns:
            what the sync brought; None if no answer came.

        Raises:
            InputError: if the server refuses the request.
        """
        try:
            return self.exchange(accepts_tasks=False)
        except httpx.TransportError:
            return None
