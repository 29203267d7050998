"""The server optimizer against its published rule, written out float by float."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import CheckFailed
from federated.optimizer import Adam, Momentum, apply_average, initial_state

averages = st.lists(st.floats(-10, 10), min_size=1, max_size=6)


def run(optimizer, values):
    adapter, state = np.zeros(1, np.float32), initial_state(optimizer, 1)
    for value in values:
        adapter, state = apply_average(optimizer, state, adapter, np.array([value]))
    return float(adapter[0])


@given(averages, st.floats(0, 0.99), st.floats(0.01, 2))
def test_momentum(values, beta, rate):
    place = speed = 0.0
    for value in values:
        speed = beta * speed + value
        place += rate * speed
    assert run(Momentum(learning_rate=rate, beta=beta), values) == pytest.approx(place, rel=1e-4, abs=1e-4)


@given(averages)
def test_plain_federated_averaging_adds_the_average(values):
    assert run(Momentum(learning_rate=1.0, beta=0.0), values) == pytest.approx(sum(values), rel=1e-4, abs=1e-4)


@given(averages)
def test_adam(values):
    rule = Adam(learning_rate=0.1)
    place, first, second = 0.0, 0.0, rule.tau**2
    for value in values:
        first = 0.9 * first + 0.1 * value
        second = 0.99 * second + 0.01 * value * value
        place += 0.1 * first / (math.sqrt(second) + 1e-3)
    assert run(rule, values) == pytest.approx(place, rel=1e-4, abs=1e-4)


def test_leaving_float32_is_an_error_not_an_infinity():
    optimizer = Momentum()
    with pytest.raises(CheckFailed, match="float32"):
        apply_average(optimizer, initial_state(optimizer, 1), np.array([3e38], np.float32), np.array([3e38]))
