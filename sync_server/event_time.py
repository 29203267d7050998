"""When an event happened, fixed once, at its first acceptance."""

from contracts.events import Event
from contracts.sync import SyncRequest


def fix_time(event: Event, request: SyncRequest, now_ms: int) -> tuple[int, bool]:
    """The time of an event by the server's clock, and whether it is uncertain.

    Within one boot the device's monotonic clock tells how long ago the event was. Across boots only its wall clock
    does, corrected by how far that is off now; it may have been set in between, so the result is marked uncertain.
    Nothing happens in the future or before 1970.

    Args:
        now_ms: when the request is taken, milliseconds since 1970.

    Returns:
        milliseconds since 1970, and whether the device's wall clock had to be trusted.
    """
    same_boot = event.boot_id == request.boot_id != "" and event.uptime_ms <= request.uptime_ms
    ago = request.uptime_ms - event.uptime_ms if same_boot else request.sent_at - event.occurred_at
    return min(max(now_ms - ago, 0), now_ms), not same_boot
