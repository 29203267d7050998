"""One person moves the sum by at most the clipping norm, and who is missing changes nothing else."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from contracts.errors import PrivacyError, WireError
from contracts.noise import secure_noise, seeded_noise
from federated.aggregation import add_noise, average, clip, noise_deviation, read_update, sum_updates
from federated.sampling import expected_cohort

DIMENSION = 5
any_float32 = st.floats(width=32, allow_nan=True, allow_infinity=True)
payloads = arrays.arrays(np.float32, DIMENSION, elements=any_float32)
finite = arrays.arrays(np.float32, DIMENSION, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
norms = st.floats(1e-3, 1e3)


def accepted(payload: np.ndarray) -> list[np.ndarray]:
    """What a gateway sums of a phone's bytes: the update, or nothing."""
    try:
        return [read_update(payload.astype("<f4").tobytes(), DIMENSION)]
    except WireError:
        return []


@given(others=st.lists(finite, max_size=6), one=payloads, clipping_norm=norms)
def test_one_person_moves_the_sum_by_at_most_the_clipping_norm_whatever_the_phone_sends(others, one, clipping_norm):
    without = sum_updates(others, DIMENSION, clipping_norm)
    with_one = sum_updates([*others, *accepted(one)], DIMENSION, clipping_norm)
    assert np.linalg.norm(with_one - without) <= clipping_norm * (1 + 1e-9)


@given(update=finite, clipping_norm=norms)
def test_clipping_keeps_the_direction_and_leaves_short_updates_alone(update, clipping_norm):
    clipped = clip(update, clipping_norm)
    norm = math.hypot(*map(float, update))
    if norm <= clipping_norm:
        np.testing.assert_array_equal(clipped, update.astype(np.float64))
    else:
        np.testing.assert_allclose(clipped, update.astype(np.float64) * (clipping_norm / norm), rtol=1e-9)
        assert math.isclose(math.hypot(*clipped), clipping_norm, rel_tol=1e-9)


def test_the_zero_update_is_legal():
    np.testing.assert_array_equal(clip(np.zeros(3, np.float32), 0.5), np.zeros(3))


@given(update=finite, place=st.integers(0, DIMENSION - 1), poison=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_nan_and_infinity_never_reach_the_sum(update, place, poison):
    update[place] = poison
    with pytest.raises(WireError, match="NaN or infinity"):
        read_update(update.astype("<f4").tobytes(), DIMENSION)


@given(data=st.binary(max_size=64))
def test_only_the_adapters_own_length_is_read(data):
    if len(data) == 4 * DIMENSION:
        return
    with pytest.raises(WireError, match="bytes"):
        read_update(data, DIMENSION)


@given(
    updates=st.lists(finite, min_size=1, max_size=6),
    answers=st.lists(st.booleans(), min_size=6, max_size=6),
    multiplier=st.floats(0.1, 10),
    clipping_norm=norms,
    sampling_rate=st.floats(0.05, 1.0),
)
def test_a_missing_phone_changes_neither_noise_nor_denominator(
    updates, answers, multiplier, clipping_norm, sampling_rate
):
    """Released minus the exact average of the sum is the same noise over the same cohort, whoever answered."""
    answered = [update for update, there in zip(updates, answers, strict=False) if there]
    cohort = expected_cohort(len(updates), sampling_rate)
    expected_noise = multiplier * clipping_norm * seeded_noise(7)(DIMENSION) / (sampling_rate * len(updates))
    for group in (updates, answered, []):
        total = sum_updates(group, DIMENSION, clipping_norm)
        released = average(add_noise(total, clipping_norm, multiplier, seeded_noise(7)), cohort)
        np.testing.assert_allclose(released - total / cohort, expected_noise, rtol=1e-6, atol=1e-9 * clipping_norm)


def test_a_sum_that_is_not_finite_is_not_released():
    with pytest.raises(PrivacyError, match="nothing is released"):
        add_noise(np.array([1.0, np.nan]), 1.0, 1.0, secure_noise)


@pytest.mark.parametrize("cohort", [0.0, -1.0, math.nan, math.inf])
def test_a_cohort_of_nobody_is_refused(cohort):
    with pytest.raises(PrivacyError, match="expected cohort"):
        average(np.zeros(2), cohort)


def test_the_noise_is_standard_normal_and_never_the_same():
    sample = secure_noise(200_000)
    scale = 1 / math.sqrt(sample.size)
    assert abs(sample.mean()) < 6 * scale
    assert abs(sample.std() - 1) < 6 * scale
    assert abs((sample**4).mean() - 3) < 60 * scale  # kurtosis of a normal; its own deviation is sqrt(96) scale
    assert not np.array_equal(secure_noise(4), secure_noise(4))
    assert noise_deviation(0.5, 3.0) == 1.5


def test_seeded_noise_repeats_from_its_seed_but_not_within_a_run():
    source, again = seeded_noise(3), seeded_noise(3)
    first = source(8)
    np.testing.assert_array_equal(first, again(8))
    assert not np.array_equal(first, source(8))
