"""Which trials are stopped: never the best so far, half of what comes in no order."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.tuning.halving import LEAST_OTHERS, goes_on, scalarised, standardised_gain

scores = st.floats(-5, 5)


@given(st.lists(scores), scores)
def test_the_best_so_far_and_the_first_few_go_on(others, score):
    if len(others) < LEAST_OTHERS or score >= max(others):
        assert goes_on(score, others)
    elif score < min(others):
        assert not goes_on(score, others)


@given(st.lists(scores, min_size=LEAST_OTHERS), scores, scores)
def test_who_is_better_than_one_that_goes_on_goes_on(others, one, other):
    assert goes_on(max(one, other), others) or not goes_on(min(one, other), others)


def test_half_of_a_random_order_is_stopped():
    draw, kept, seen = random.Random(0), 0, []
    for _ in range(400):
        score = draw.random()
        kept += goes_on(score, seen)
        seen.append(score)
    assert 0.4 < kept / 400 < 0.6


def test_a_gain_is_paired_and_in_standard_errors():
    draw = np.random.default_rng(0)
    current, noise = draw.uniform(0, 1, 1000), draw.normal(0, 0.1, 1000)
    found = standardised_gain(current + 0.01 + noise, current)
    assert found == pytest.approx((0.01 + noise.mean()) / (noise.std(ddof=1) / np.sqrt(1000)))
    unknown = np.concatenate([current, np.full(50, np.nan)])
    assert standardised_gain(np.concatenate([current + 0.01 + noise, np.ones(50)]), unknown) == pytest.approx(found)
    assert standardised_gain(current, current) == 0.0
    assert standardised_gain(np.full(3, np.nan), np.ones(3)) == 0.0
    assert scalarised([current + 0.01 + noise, current], [current, current]) == pytest.approx(found / 2)
