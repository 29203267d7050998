"""When an event happened, fixed once, at its first acceptance."""

from contracts.events import Event
from contracts.sync import SyncRequest

MAX_ROUND_TRIP_MS = 60_000  # half of it is how far the time of an event may be off without being called uncertain


def fix_time(event: Event, request: SyncRequest, now_ms: int) -> tuple[int, bool]:
    """The time of an event by the server's clock, and whether it is uncertain.

    Within one boot the device's monotonic clock tells how long before the request the event was. The request was sent
    before it is taken: by at most the round trip, which is what the server's clock counted more than the device's since
    the last answer. The middle is taken, so that the error is at most half the round trip.

    Across boots only the device's wall clock tells, corrected by how far it is off now; it may have been set in
    between. Nothing happens in the future or before 1970.

    Args:
        now_ms: when the request is taken, milliseconds since 1970.

    Returns:
        milliseconds since 1970; and whether the wall clock had to be trusted, the round trip is unknown, or it is
        longer than MAX_ROUND_TRIP_MS.
    """
    same_boot = event.boot_id == request.boot_id != "" and event.uptime_ms <= request.uptime_ms
    ago = request.uptime_ms - event.uptime_ms if same_boot else request.sent_at - event.occurred_at
    round_trip_ms = _round_trip(request, now_ms)
    occurred_ms = now_ms - (round_trip_ms or 0) // 2 - ago
    uncertain = not same_boot or round_trip_ms is None or round_trip_ms > MAX_ROUND_TRIP_MS
    return min(max(occurred_ms, 0), now_ms), uncertain


def _round_trip(request: SyncRequest, now_ms: int) -> int | None:
    """The time from the server's last answer to this request, less what passed on the device; None if not measured."""
    heard = request.heard
    if heard is None or heard.boot_id != request.boot_id or heard.uptime_ms > request.uptime_ms:
        return None
    on_device = request.uptime_ms - heard.uptime_ms
    return max(now_ms - heard.server_time - on_device, 0)  # below 0 where one clock runs faster: too little to tell
