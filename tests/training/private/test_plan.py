"""A plan keeps its budget by the published accountant and by a second one, and refuses what cannot be kept."""

import math

import pytest

from contracts.errors import ConfigError, DataError
from contracts.noise import seeded_noise
from training.privacy_crosscheck import prv_epsilon
from training.private.plan import MIN_PEOPLE, WITHOUT_PRIVACY, noise_of, plan_privacy


@pytest.mark.parametrize("epsilon", [2.0, 8.0])
def test_a_plan_spends_its_budget_and_no_more(epsilon):
    plan = plan_privacy(epsilon, 1e-5, 6040, 0.1, 40)
    spent = plan.epsilon(1e-5)
    assert 0.97 * epsilon < spent <= epsilon
    assert prv_epsilon(plan.charges.values(), 1e-5) == pytest.approx(spent, rel=0.02)
    assert list(plan.charges) == ["popularity", "pairs", "steps"]
    assert plan.charges["steps"].releases == 40


def test_without_privacy_nothing_is_claimed():
    assert math.isinf(WITHOUT_PRIVACY.epsilon(1e-5))
    assert noise_of(WITHOUT_PRIVACY.pairs) == 0.0
    assert not WITHOUT_PRIVACY.charges


@pytest.mark.parametrize(
    ("epsilon", "delta", "people", "error", "says"),
    [
        (0.001, 1e-5, 6040, ConfigError, "cannot be met"),
        (0.0, 1e-5, 6040, ConfigError, "above 0"),
        (math.nan, 1e-5, 6040, ConfigError, "above 0"),
        (8.0, 1e-3, 6040, ConfigError, "below one in all"),
        (8.0, 0.0, 6040, ConfigError, "below one in all"),
        (8.0, 1e-5, MIN_PEOPLE - 1, DataError, "too few|at least"),
    ],
)
def test_what_cannot_be_met_is_refused_in_one_line(epsilon, delta, people, error, says):
    with pytest.raises(error, match=says) as caught:
        plan_privacy(epsilon, delta, people, 1.0, 1)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_seeded_noise_goes_on():
    noise = seeded_noise(3)
    assert noise(4).tolist() != noise(4).tolist()
