"""Privacy-loss-distribution accounting of what training and rounds were charged: the epsilon that is published."""

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from contracts.errors import ConfigError
from contracts.privacy import MIN_NOISE_MULTIPLIER, Charge


def check_charge(charge: Charge) -> None:
    """Raises ConfigError if a charge is none that the accountant can bound."""
    if not 0.0 < charge.sampling_rate <= 1.0:
        raise ConfigError(f"sampling rate is {charge.sampling_rate}, allowed is above 0 and at most 1")
    if not MIN_NOISE_MULTIPLIER <= charge.noise_multiplier < float("inf"):
        raise ConfigError(
            f"noise multiplier is {charge.noise_multiplier}, must be at least {MIN_NOISE_MULTIPLIER}: "
            "less noise protects nobody; 1 is common"
        )
    if charge.releases < 1:
        raise ConfigError(f"releases is {charge.releases}, must be at least 1")


def epsilon(charges: Iterable[Charge], delta: float) -> float:
    """Smallest epsilon for which all the charges together are (epsilon, delta)-differentially private.

    Poisson-subsampled Gaussian mechanisms under add/remove adjacency, composed as privacy loss distributions: charges
    may differ in sampling rate and noise. No charge costs nothing.

    Args:
        charges: what was released, in any order.
        delta: between 0 and 1; usually below one over the people enrolled.

    Raises:
        ConfigError: if delta or a charge is out of range.

    Source: Koskela, Jälkö & Honkela 2020; Doroshenko et al. 2022, as implemented by google/differential-privacy.
    """
    if not 0.0 < delta < 1.0:
        raise ConfigError(f"delta is {delta}, must be between 0 and 1: 1e-6 or one over the people squared is common")
    releases: Counter[tuple[float, float]] = Counter()
    for charge in charges:
        check_charge(charge)
        releases[charge.sampling_rate, charge.noise_multiplier] += charge.releases
    return _composed(tuple(sorted(releases.items())), delta) if releases else 0.0


@lru_cache(maxsize=256)
def _composed(releases: tuple[tuple[tuple[float, float], int], ...], delta: float) -> float:
    """Remembered, because a round asks twice: whether it can be afforded, and when it is charged."""
    import dp_accounting
    from dp_accounting import pld

    accountant = pld.PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    for (sampling_rate, noise_multiplier), count in releases:
        event: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(noise_multiplier)
        if sampling_rate < 1.0:
            event = dp_accounting.PoissonSampledDpEvent(sampling_rate, event)
        accountant.compose(event, count)
    return float(accountant.get_epsilon(delta))
