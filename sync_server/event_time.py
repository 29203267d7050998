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

    earliest: int  # but for how long an earlier request was under way, which is seldom long
    latest: int  # when the request is taken, or earlier
    surely: int = 0  # the earliest, however long that was
    enrolled: int = 0  # when its device was: no request was made before


class Fixed(NamedTuple):
    """When something was made; milliseconds since 1970.

    Attributes:
        time_ms: what is taken for it.
        uncertain: whether the wall clock had to be trusted, the round trip is unknown, or it is longer than
            MAX_ROUND_TRIP_MS.
        earliest_ms: not before, as far as that is known without the wall clock: what an erasure bars goes by this.
        cautious_ms: the same, where the wall clock is believed too if it puts something earlier: consent must have been
            given from here to `time_ms`. So a request that was under way for weeks opens nothing of before an opt-in.
    """

    time_ms: int
    uncertain: bool
    earliest_ms: int
    cautious_ms: int


def fix_time(made: Event | Clocks, request: SyncRequest, round_trip_ms: int | None, now_ms: int, known: Known) -> Fixed:
    """The time of an event by the server's clock.

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
    """
    same_boot = made.boot_id == request.boot_id != "" and made.uptime_ms <= request.uptime_ms
    ago = request.uptime_ms - made.uptime_ms if same_boot else request.sent_at - made.occurred_at
    made_ms = now_ms - (round_trip_ms or 0) // 2 - ago
    if same_boot and round_trip_ms is not None and round_trip_ms <= MAX_ROUND_TRIP_MS:
        time_ms = min(max(made_ms, 0), now_ms)
        return Fixed(time_ms, False, time_ms, time_ms)
    # Within a boot it was surely not made later than that; a clone may have reported greater numbers since.
    time_ms = min(max(made_ms, 0 if same_boot else known.earliest), known.latest)
    if same_boot and round_trip_ms is not None:  # only the request was under way for long
        earliest_ms = cautious_ms = min(made_ms - (round_trip_ms + 1) // 2, time_ms)
    else:
        earliest_ms = min(known.surely, time_ms)
        # A wall clock that says that the request was made before anybody could is known to be wrong.
        believed = not same_boot or request.sent_at >= max(known.enrolled, made_after(request))
        cautious_ms = max(earliest_ms, min(request.sent_at - ago, time_ms)) if believed else time_ms
    return Fixed(time_ms, True, earliest_ms, cautious_ms)


def fix_decision(fact: ConsentFact, request: SyncRequest, now_ms: int, known: Known) -> Fixed:
    """The same of a decision about consent; one without clocks is taken to be made when it arrives."""
    if fact.decided_at is None:
        return Fixed(now_ms, True, known.surely, now_ms)
    made = Clocks(fact.decided_at, fact.boot_id, fact.uptime_ms)
    return fix_time(made, request, round_trip(request, now_ms), now_ms, known)


def made_after(request: SyncRequest) -> int:
    """The latest moment after which a request was surely made, 0 if nothing tells; milliseconds since 1970.

    It was made after the answer that it has heard was given: how long after, tells the boot in which it heard it.
    """
    heard = request.heard
    if heard is None:
        return 0
    same_boot = heard.boot_id == request.boot_id and heard.uptime_ms <= request.uptime_ms
    return max(heard.server_time + (request.uptime_ms - heard.uptime_ms if same_boot else 0), 0)


def round_trip(request: SyncRequest, now_ms: int) -> int | None:
    """The time from the server's last answer to this request, less what passed on the device; None if not measured."""
    heard = request.heard
    if heard is None or heard.boot_id != request.boot_id or heard.uptime_ms > request.uptime_ms:
        return None
    on_device = request.uptime_ms - heard.uptime_ms
    return max(now_ms - heard.server_time - on_device, 0)  # below 0 where one clock runs faster: too little to tell
