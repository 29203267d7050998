"""P-values against all flips of signs, one by one, and against SciPy's permutation test."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from training.evaluation import compare_all, p_values
from training.evaluation.significance import EXACT_PEOPLE, FLIPS

seeds = st.integers(0, 10**6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-5, 5).map(float) | st.just(math.nan), min_size=1, max_size=8), seeds)
def test_few_people_are_flipped_in_every_way(differences: list[float], seed: int) -> None:
    known = [each for each in differences if not math.isnan(each)]
    measured = abs(sum(known))
    flips = [
        abs(sum(s * d for s, d in zip(signs, known, strict=True))) for signs in product((1, -1), repeat=len(known))
    ]
    expected = sum(each >= measured for each in flips) / len(flips)
    assert p_values(np.array([differences]), seed)[0] == pytest.approx(expected)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.1])
def test_many_people_are_flipped_as_scipy_does(shift: float) -> None:
    differences = np.random.default_rng(3).normal(shift, 0.3, 100)
    expected = permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    ).pvalue
    found = p_values(differences[None], 7)[0]
    assert found == pytest.approx(expected, abs=0.02)  # of 10,000 flips, p has a deviation of at most 0.005


def test_exact_and_drawn_flips_agree_where_one_becomes_the_other() -> None:
    few = np.random.default_rng(0).normal(0.2, 0.5, EXACT_PEOPLE)
    drawn = p_values(np.append(few, 0.0)[None], 1)[0]  # a person without a difference is no evidence
    assert drawn == pytest.approx(p_values(few[None], 1)[0], abs=0.02)


def test_a_clear_difference_is_as_improbable_as_the_flips_can_say() -> None:
    draw = np.random.default_rng(5)
    base = draw.random(200)
    pairs = compare_all({"a": base, "b": base + 0.1 + 0.01 * draw.random(200), "c": base}, 7)
    assert [(each.model, each.other) for each in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs[0].p_value == pairs[2].p_value == 1 / (1 + FLIPS)
    assert pairs[1].p_value == 1.0
    assert pairs[0].difference.high < 0 < pairs[2].difference.low


def test_under_no_difference_p_is_small_as_seldom_as_it_says() -> None:
    draws = np.random.default_rng(11).standard_t(3, (400, 60))
    assert 0.02 <= float((p_values(draws, 1) <= 0.05).mean()) <= 0.09


def test_one_model_has_no_pair() -> None:
    assert compare_all({"a": np.zeros(3)}, 1) == []
