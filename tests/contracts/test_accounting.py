"""The published epsilon against the measured table, a closed form and a second accountant."""

import math

import pytest
from scipy.stats import norm

from contracts.accounting import epsilon
from contracts.errors import ConfigError
from contracts.privacy import Charge
from training.privacy_crosscheck import prv_epsilon

# sampling rate, noise multiplier, rounds, delta; PLD and PRV as measured once with the accountants' own scripts.
TABLE = [
    (100 / 6040, 1.0, 200, 1e-6, 1.85, 1.86),
    (0.1, 1.0, 200, 1e-6, 11.23, 11.25),
    (600 / 6040, 4.0, 500, 1e-5, 2.32, 2.33),
]


@pytest.mark.parametrize(("rate", "multiplier", "rounds", "delta", "pld", "prv"), TABLE)
def test_the_table_of_subsampled_gaussians(rate, multiplier, rounds, delta, pld, prv):
    charges = [Charge(sampling_rate=rate, noise_multiplier=multiplier, releases=rounds)]
    published, second = epsilon(charges, delta), prv_epsilon(charges, delta)
    assert published == pytest.approx(pld, abs=0.006)
    assert second == pytest.approx(prv, abs=0.006)
    assert published == pytest.approx(second, rel=0.02)


def exact_gaussian_delta(eps: float, multiplier: float) -> float:
    """Balle & Wang 2018, theorem 8: the Gaussian mechanism's delta, sensitivity 1."""
    half, shift = 1 / (2 * multiplier), eps * multiplier
    return norm.cdf(half - shift) - math.exp(eps) * norm.cdf(-half - shift)


@pytest.mark.parametrize(("multiplier", "releases"), [(1.0, 1), (2.0, 4), (0.5, 1)])
def test_without_sampling_the_closed_form_holds(multiplier, releases):
    charges = [Charge(sampling_rate=1.0, noise_multiplier=multiplier, releases=releases)]
    found = epsilon(charges, 1e-5)
    single = multiplier / math.sqrt(releases)  # k Gaussians of multiplier z are one of z / sqrt(k)
    assert exact_gaussian_delta(found, single) == pytest.approx(1e-5, rel=0.01)
    assert prv_epsilon(charges, 1e-5) == pytest.approx(found, rel=0.02)


def test_charges_of_different_parameters_compose():
    few = [Charge(sampling_rate=0.5, noise_multiplier=1.0), Charge(sampling_rate=0.3, noise_multiplier=2.0, releases=2)]
    together = epsilon(few, 1e-5)
    assert max(epsilon(few[:1], 1e-5), epsilon(few[1:], 1e-5)) < together
    assert together == pytest.approx(prv_epsilon(few, 1e-5), rel=0.02)
    assert together == pytest.approx(epsilon([*few[1:], *few[:1]], 1e-5))


def test_ten_lines_cost_what_one_line_of_ten_costs():
    one = Charge(sampling_rate=0.2, noise_multiplier=1.5)
    ten = Charge(sampling_rate=0.2, noise_multiplier=1.5, releases=10)
    assert epsilon([one] * 10, 1e-5) == pytest.approx(epsilon([ten], 1e-5))


def test_nothing_charged_costs_nothing():
    assert epsilon([], 1e-5) == prv_epsilon([], 1e-5) == 0.0


@pytest.mark.parametrize(
    ("charge", "delta"),
    [
        (Charge(sampling_rate=0.0, noise_multiplier=1.0), 1e-5),
        (Charge(sampling_rate=1.5, noise_multiplier=1.0), 1e-5),
        (Charge(sampling_rate=0.5, noise_multiplier=0.0), 1e-5),
        (Charge(sampling_rate=0.5, noise_multiplier=math.nan), 1e-5),
        (Charge(sampling_rate=0.5, noise_multiplier=1.0, releases=0), 1e-5),
        (Charge(sampling_rate=0.5, noise_multiplier=1.0), 0.0),
        (Charge(sampling_rate=0.5, noise_multiplier=1.0), 1.0),
    ],
)
def test_what_no_accountant_can_bound_is_refused(charge, delta):
    with pytest.raises(ConfigError):
        epsilon([charge], delta)
