"""A second opinion on the published epsilon: Opacus's PRV accountant, which loads torch and so lives here."""

from collections.abc import Iterable

from contracts.privacy import Charge


def prv_epsilon(charges: Iterable[Charge], delta: float) -> float:
    """Epsilon of the charges by numerical composition of privacy random variables.

    It bounds from above with an error of 0.01 by default, so expect it that much over the PLD figure; where the two
    differ by more than 2 % and 0.02, publish neither before the reason is known.

    Args:
        charges: releases of Poisson-subsampled Gaussian mechanisms, add/remove adjacency.
        delta: between 0 and 1.

    Source: Gopi, Lee & Wutschitz 2021, "Numerical Composition of Differential Privacy".
    """
    history = [(charge.noise_multiplier, charge.sampling_rate, charge.releases) for charge in charges]
    if not history:
        return 0.0

    import warnings

    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = history
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the log of 1 - q at q = 1, which the accountant then masks
        return float(accountant.get_epsilon(delta))
