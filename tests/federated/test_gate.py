"""Not worse, or not published."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DataError
from federated.gate import decide


def people(count=200, seed=1):
    return np.random.default_rng(seed).random(count)


def test_a_better_model_is_published_and_a_worse_one_refused():
    old = people()
    better, worse = decide(old, old + 0.01), decide(old, old - 0.01)
    assert better.published
    assert better.mean_difference == pytest.approx(0.01)
    assert not worse.published
    assert worse.reason.startswith("refused")
    assert worse.reason.endswith("is < +0.00000")
    assert "published" in better.reason


def test_the_margin_is_how_much_worse_is_still_not_worse():
    old = people()
    assert decide(old, old - 0.01, margin=0.0101).published
    assert not decide(old, old - 0.01, margin=0.0099).published


def test_pairing_finds_what_spread_between_people_would_hide():
    old = people() * 10  # people differ by 10, the model by 0.1
    decision = decide(old, old + 0.1)
    assert decision.published
    assert decision.low == pytest.approx(0.1)


def test_a_noisy_gain_is_not_enough():
    difference = np.concatenate([np.full(100, 1.0), np.full(100, -0.99)])
    decision = decide(np.zeros(200), difference)
    assert decision.mean_difference > 0
    assert decision.low < 0 < decision.high
    assert not decision.published


def test_the_interval_is_that_of_the_mean():
    difference = np.random.default_rng(5).normal(0.3, 1.0, size=2_000)
    decision = decide(np.zeros(2_000), difference, resamples=4_000)
    half = 1.96 * difference.std() / np.sqrt(2_000)
    assert decision.low == pytest.approx(difference.mean() - half, abs=0.1 * half)
    assert decision.high == pytest.approx(difference.mean() + half, abs=0.1 * half)


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_the_decision_is_its_rule_and_can_be_repeated(seed, margin):
    old, new = people(30, seed), people(30, seed + 1)
    decision = decide(old, new, margin, resamples=200)
    assert decision.published == (decision.low >= -margin)
    assert decision == decide(old, new, margin, resamples=200)


@pytest.mark.parametrize(
    ("old", "new", "margin"),
    [
        (np.zeros(3), np.zeros(4), 0.0),
        (np.zeros((2, 2)), np.zeros((2, 2)), 0.0),
        (np.zeros(1), np.zeros(1), 0.0),
        (np.zeros(2), np.array([0.0, np.nan]), 0.0),
        (np.zeros(2), np.zeros(2), -0.1),
        (np.zeros(2), np.zeros(2), np.nan),
    ],
)
def test_what_cannot_be_compared_is_refused(old, new, margin):
    with pytest.raises(DataError):
        decide(old, new, margin)
