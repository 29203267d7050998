"""When something happened, fixed once, when it is first taken."""

from typing import NamedTuple

import msgspec

from contracts.consent import ConsentFact
from contracts.events import Event
from contracts.sync import SyncRequest

MAX_ROUND_TRIP_MS = 60_000  # half of it is how far the time of an event may be off without being called uncertain


class Clocks(msgspec.Struct, frozen=True):
    """What a device's clocks said when it made something, as in `contracts.events.Event`."""

    occurred_at: int
    boot_id: str
    uptime_ms: int


class Known(NamedTuple):
    """Between which moments something was made, as the server knows by itself; milliseconds since 1970."""

    earliest: int
    latest: int  # when the request is taken, or earlier


def fix_time(
    made: Event | Clocks, request: SyncRequest, round_trip_ms: int | None, now_ms: int, known: Known
) -> tuple[int, bool]:
    """The time of an event by the server's clock, and whether it is uncertain.

    Within one boot the device's monotonic clock tells how long before the request the event was. The request was sent
    before it is taken: by at most the round trip, which is what the server's clock counted more than the device's since
    the last answer. The middle is taken, so that the error is at most half the round trip.

    Across boots only the device's wall clock tells, corrected by how far it is off now; it may have been set in
    between. What is uncertain is kept within what is known without any clock of the device. Nothing happens in the
    future or before 1970.

    Args:
        made: the event, or its clocks.
        request: that brought it.
        round_trip_ms: of the request, as `round_trip` found it.
        now_ms: when the request is taken, milliseconds since 1970.
        known: see `sync_server.devices.known`.

    Returns:
        milliseconds since 1970; and whether the wall clock had to be trusted, the round trip is unknown, or it is
        longer than MAX_ROUND_TRIP_MS.
    """
    same_boot = made.boot_id == request.boot_id != "" and made.uptime_ms <= request.uptime_ms
    ago = request.uptime_ms - made.uptime_ms if same_boot else request.sent_at - made.occurred_at
    made_ms = now_ms - (round_trip_ms or 0) // 2 - ago
    if not same_boot or round_trip_ms is None or round_trip_ms > MAX_ROUND_TRIP_MS:
        # Within a boot it was surely not made later than that; a clone may have reported greater numbers since.
        return min(max(made_ms, 0 if same_boot else known.earliest), known.latest), True
    return min(max(made_ms, 0), now_ms), False


def fix_decision(fact: ConsentFact, request: SyncRequest, now_ms: int, known: Known) -> tuple[int, bool]:
    """The same of a decision about consent; one without clocks is taken to be made when it arrives."""
    if fact.decided_at is None:
        return now_ms, True
    made = Clocks(fact.decided_at, fact.boot_id, fact.uptime_ms)
    return fix_time(made, request, round_trip(request, now_ms), now_ms, known)


def round_trip(request: SyncRequest, now_ms: int) -> int | None:
    """The time from the server's last answer to this request, less what passed on the device; None if not measured."""
    heard = request.heard
    if heard is None or heard.boot_id != request.boot_id or heard.uptime_ms > request.uptime_ms:
        return None
    on_device = request.uptime_ms - heard.uptime_ms
    return max(now_ms - heard.server_time - on_device, 0)  # below 0 where one clock runs faster: too little to tell
