"""What the device knows about its owner now: the profile received, and own events that it does not contain yet."""

from collections.abc import Callable

from contracts.events import Event
from contracts.summary import HOUR_MS, Summary, merge, summarize
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
    owners = {profile.owner or "", *profile.owners}
    own = cache.kept(owners, settled=profile.version == 0)
    return merge(profile.summary(), summarize((event, true_ms(event) // HOUR_MS) for event in own))
