"""Intervals against the central limit theorem, the delta method, and what a paired bootstrap must do."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from training.evaluation import estimate, estimates, relative_difference

TOLERANCE = 0.12  # of an interval's half: 2,000 resamples give its ends a deviation of 3 %
seeds = st.integers(0, 2**32 - 1)
per_person = arrays.arrays(
    np.float64, st.integers(1, 12), elements=st.floats(0, 1).map(lambda value: round(value, 3)) | st.just(math.nan)
)


@settings(max_examples=30)
@given(per_person, seeds)
def test_an_estimate_contains_its_value_within_what_was_seen(values: np.ndarray, seed: int) -> None:
    found = estimate(values, seed)
    assert found == estimate(values, seed)
    seen = values[~np.isnan(values)]
    assert found == estimate(seen, seed)
    if not len(seen):
        assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
        return
    assert found.value == pytest.approx(sum(seen) / len(seen))
    margin = 1e-12
    assert seen.min() - margin <= found.low <= found.value + margin
    assert found.value - margin <= found.high <= seen.max() + margin
    doubled = estimate(2 * values, seed)
    assert (doubled.value, doubled.low, doubled.high) == (2 * found.value, 2 * found.low, 2 * found.high)


def test_another_seed_draws_other_people() -> None:
    values = np.random.default_rng(0).random(50)
    assert estimate(values, 1).value == estimate(values, 2).value
    assert estimate(values, 1).low != estimate(values, 2).low


def test_the_interval_of_many_people_is_the_normal_one() -> None:
    """An independent oracle: the central limit theorem."""
    values = np.random.default_rng(1).random(1000) ** 2
    found = estimate(values, 7)
    error = 1.96 * values.std() / math.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - error, abs=TOLERANCE * error)
    assert found.high == pytest.approx(values.mean() + error, abs=TOLERANCE * error)


def test_a_difference_has_the_interval_of_the_delta_method() -> None:
    """An independent oracle: the ratio's linear approximation, with the covariance of the pairs."""
    draw = np.random.default_rng(2)
    reference = draw.random(1000)
    values = 0.7 * reference + 0.5 * draw.random(1000)
    ratio = values.mean() / reference.mean()
    error = 1.96 * np.std(values - ratio * reference) / reference.mean() / math.sqrt(1000)
    found = relative_difference(values, reference, 7)
    assert found.value == pytest.approx(ratio - 1)
    assert found.low == pytest.approx(ratio - 1 - error, abs=TOLERANCE * error)
    assert found.high == pytest.approx(ratio - 1 + error, abs=TOLERANCE * error)


@settings(max_examples=30)
@given(per_person, seeds)
def test_a_model_does_not_differ_from_itself(values: np.ndarray, seed: int) -> None:
    found = relative_difference(values, values, seed)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


@settings(max_examples=30)
@given(per_person.map(lambda values: values + 0.01), st.floats(0.1, 10), seeds)
def test_people_are_drawn_in_pairs(values: np.ndarray, scale: float, seed: int) -> None:
    """Where one model is the same multiple of the other for everybody, nothing is left to chance."""
    found = relative_difference(scale * values, values, seed)
    expected = 0.0 if np.isnan(values).all() else scale - 1
    assert (found.value, found.low, found.high) == pytest.approx((expected,) * 3, abs=1e-9)


@settings(max_examples=30)
@given(seeds, st.integers(1, 40))
def test_a_difference_is_of_the_people_both_have_and_of_no_unit(seed: int, people: int) -> None:
    draw = np.random.default_rng(seed)
    values, reference = draw.random(people), 0.1 + draw.random(people)
    found = relative_difference(values, reference, seed)
    assert found == relative_difference(values, reference, seed)
    assert found == relative_difference(4 * values, 4 * reference, seed)
    assert found.low - 1e-12 <= found.value <= found.high + 1e-12
    assert found.value == pytest.approx(values.mean() / reference.mean() - 1)
    more = np.concatenate([values, [0.9, math.nan, math.nan]]), np.concatenate([reference, [math.nan, 0.9, math.nan]])
    assert found == relative_difference(*more, seed)


def test_one_person_has_no_spread_and_nobody_has_no_difference() -> None:
    one, nobody = np.array([0.5, math.nan]), np.array([math.nan, 0.4])
    found = relative_difference(one, np.array([0.4, 0.1]), 1)
    assert (found.value, found.low, found.high) == pytest.approx((0.25,) * 3)
    assert estimate(one, 1).low == estimate(one, 1).high == 0.5
    assert relative_difference(one, nobody, 1) == estimate(np.array([]), 1) == estimate(np.array([math.nan]), 1)


@settings(max_examples=20)
@given(seeds, st.integers(1, 12))
def test_many_metrics_at_once_are_each_metric_alone(seed: int, people: int) -> None:
    draw = np.random.default_rng(seed)
    values = [np.where(draw.random(people) < 0.3, math.nan, draw.random(people)) for _ in range(3)]
    values.append(2 * values[0])
    for together, each in zip(estimates(values, seed), values, strict=True):
        alone = estimate(each, seed)
        assert (together.value, together.low, together.high) == pytest.approx((alone.value, alone.low, alone.high))
