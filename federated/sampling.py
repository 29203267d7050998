"""Who takes part in a round: each enrolled person by a secret coin of their own, and by which gateway."""

import hmac
import random
import secrets
from collections.abc import Sequence

from contracts.errors import ConfigError


def draw_cohort(enrolled: Sequence[int], sampling_rate: float, coins: random.Random | None = None) -> tuple[int, ...]:
    """Poisson sampling: everybody is drawn independently with the same probability.

    Drawn once, when the round opens, and frozen: nobody replaces a no-show. The outcome is a secret of the trusted
    side; amplification by sampling holds only while it is.

    Args:
        enrolled: people, frozen at the opening, each once.
        sampling_rate: q, above 0 and at most 1.
        coins: the operating system's entropy unless a simulation seeds its own, and says so.

    Raises:
        ConfigError: if the sampling rate is no probability above 0.
    """
    if not 0.0 < sampling_rate <= 1.0:
        raise ConfigError(f"sampling rate is {sampling_rate}, allowed is above 0 and at most 1: 0.1 asks one in ten")
    flip = (coins or secrets.SystemRandom()).random
    return tuple(person for person in enrolled if flip() < sampling_rate)


def expected_cohort(enrolled: int, sampling_rate: float) -> float:
    """The public constant that every sum of the round is divided by: q times the people enrolled."""
    return sampling_rate * enrolled


def gateway_of(person: int, gateways: int, key: bytes) -> int:
    """The gateway that speaks for a person: keyed, so that nobody can choose theirs; stable for a key.

    The number of gateways is a constant of the deployment, not of who is online: the people of a missing gateway are
    no-shows, never moved to another.
    """
    return int.from_bytes(hmac.digest(key, str(person).encode(), "sha256")[:8]) % gateways


def share_cohort(cohort: Sequence[int], gateways: int, key: bytes) -> tuple[tuple[int, ...], ...]:
    """The cohort by gateway: every person with exactly one."""
    shares: tuple[list[int], ...] = tuple([] for _ in range(gateways))
    for person in cohort:
        shares[gateway_of(person, gateways, key)].append(person)
    return tuple(tuple(share) for share in shares)
