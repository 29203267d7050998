"""How often a device may ask, and how many events it may send: token buckets.

Each worker counts by itself, in memory: a count that all shared would cost every sync a write more, and what is to be
bounded is the work that one device makes for one worker. With n workers a device may get n times the rate. Time is the
machine's monotonic clock, since it is the machine that is protected.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.errors import TooManyError
from contracts.identity import DeviceRole
from contracts.sync import MAX_EVENTS

MAX_HELD_BUCKETS = 40_000  # two for each device; the one not used for longest is forgotten, and full if used again


class Rate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one device may do."""

    requests_per_s: Annotated[float, Meta(gt=0)]
    requests_at_once: Annotated[int, Meta(ge=1)]  # after a pause
    events_per_s: Annotated[float, Meta(gt=0)]  # ranges held or dropped count, too
    events_at_once: Annotated[int, Meta(ge=MAX_EVENTS)]


@dataclass
class _Bucket:
    tokens: float
    filled_at: float  # monotonic seconds


class Rates:
    """The buckets of a worker's devices."""

    def __init__(
        self, phones: Rate | None, shop: Rate | None, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            phones: what a phone may do; None for anything.
            shop: what a till or another device of the shop may do.
            monotonic_s: seconds that only ever grow.
        """
        self._phones, self._shop = phones, shop
        self._monotonic_s = monotonic_s
        self._lock = Lock()  # large bodies are read in threads
        self._held: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    def request(self, device_id: str, role: DeviceRole) -> None:
        """Count a request of a device that has proven who it is.

        Raises:
            TooManyError: if that is more than it may; it is not counted then.
        """
        if rate := self._of(role):
            self._take(device_id, "requests", 1, rate.requests_per_s, rate.requests_at_once)

    def events(self, device_id: str, role: DeviceRole, number: int) -> None:
        """Count the events of a request, and its ranges, each as one; errors as `request`.

        Ranges may be more than ever fit at once: such a request takes all that does.
        """
        if rate := self._of(role):
            some = min(number, rate.events_at_once)
            self._take(device_id, "events", some, rate.events_per_s, rate.events_at_once)

    def _of(self, role: DeviceRole) -> Rate | None:
        return self._phones if role is DeviceRole.PHONE else self._shop

    def _take(self, device_id: str, what: str, number: int, per_s: float, at_once: int) -> None:
        with self._lock:
            now_s = self._monotonic_s()
            bucket = self._held.pop((device_id, what), None) or _Bucket(at_once, now_s)
            while len(self._held) >= MAX_HELD_BUCKETS:
                self._held.popitem(last=False)
            self._held[device_id, what] = bucket
            bucket.tokens = min(at_once, bucket.tokens + (now_s - bucket.filled_at) * per_s)
            bucket.filled_at = now_s
            if bucket.tokens < number:
                wait_s = max(1, math.ceil((number - bucket.tokens) / per_s))
                raise TooManyError(
                    f"{number} {what} are more than {what}_per_s = {per_s:g} ({what}_at_once = {at_once}) leave this "
                    f"device: come back in {wait_s} s",
                    wait_s,
                )
            bucket.tokens -= number
