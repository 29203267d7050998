"""What the device knows about its owner now: the profile received, and own events that it does not contain yet."""

from collections import Counter
from collections.abc import Callable

from contracts.events import Event
from contracts.summary import HOUR_MS, Summary, merge, summarize
from contracts.windows import WindowCounts, bucket_of, window_counts
from device_sim.cache import EventCache
from device_sim.profile import HeldProfile


def current_summary(profile: HeldProfile, cache: EventCache, true_ms: Callable[[Event], int]) -> Summary:
    """Summary of the current owner.

    Verdicts and profile are taken in one transaction, so an event is either settled and in the profile, or neither;
    what the server holds but the device has no answer on yet is not in the profile held. Where no profile is received
    (a person who does not allow it), the device's own events count as long as it keeps them.

    Args:
        profile: the profile held.
        cache: the device's own events.
        true_ms: best estimate of when an event happened, milliseconds since 1970.
    """
    own = _own_events(profile, cache)
    return merge(profile.summary(), summarize((event, true_ms(event) // HOUR_MS) for event in own))


def current_windows(
    profile: HeldProfile, cache: EventCache, true_ms: Callable[[Event], int], now_ms: int
) -> WindowCounts:
    """What the current owner did lately, from the same two sources.

    Args:
        profile, cache, true_ms: as of `current_summary`.
        now_ms: milliseconds since 1970.
    """
    own = (bucket_of(event, true_ms(event) // HOUR_MS) for event in _own_events(profile, cache))
    counts = profile.hour_counts() + Counter(bucket for bucket in own if bucket)
    return window_counts(counts, current_summary(profile, cache, true_ms).orders, now_ms // HOUR_MS)


def _own_events(profile: HeldProfile, cache: EventCache) -> list[Event]:
    """The current owner's events on this device that the profile held does not contain."""
    return cache.kept({profile.owner or "", *profile.owners}, settled=profile.version == 0)
