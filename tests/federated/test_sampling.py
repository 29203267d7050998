"""Coins are independent and secret; a person has one gateway, whoever is online."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ConfigError
from federated.sampling import draw_cohort, expected_cohort, gateway_of, share_cohort

PEOPLE = tuple(range(1, 20_001))


def test_the_cohort_is_poisson():
    sizes = [len(draw_cohort(PEOPLE, 0.1)) for _ in range(5)]
    deviation = math.sqrt(len(PEOPLE) * 0.1 * 0.9)
    assert all(abs(size - expected_cohort(len(PEOPLE), 0.1)) < 6 * deviation for size in sizes)
    assert len(set(sizes)) > 1  # a fixed size would be another mechanism, with another epsilon


def test_coins_are_secret_unless_a_simulation_seeds_them():
    assert draw_cohort(PEOPLE, 0.5) != draw_cohort(PEOPLE, 0.5)
    assert draw_cohort(PEOPLE, 0.5, random.Random(1)) == draw_cohort(PEOPLE, 0.5, random.Random(1))


def test_a_rate_of_one_asks_everybody():
    assert draw_cohort(PEOPLE, 1.0) == PEOPLE


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, math.nan])
def test_a_rate_that_is_no_probability_is_refused(rate):
    with pytest.raises(ConfigError, match="sampling rate"):
        draw_cohort(PEOPLE, rate)


@given(st.sets(st.integers(1, 10**9), max_size=50), st.integers(1, 7), st.binary(min_size=32, max_size=32))
def test_everybody_has_exactly_one_gateway_whoever_else_is_drawn(people, gateways, key):
    shares = share_cohort(sorted(people), gateways, key)
    assert len(shares) == gateways
    assert sorted(person for share in shares for person in share) == sorted(people)
    for number, share in enumerate(shares):
        assert all(gateway_of(person, gateways, key) == number for person in share)


def test_nobody_can_choose_a_gateway_without_the_key():
    one, other = (share_cohort(PEOPLE, 2, key) for key in (b"a" * 32, b"b" * 32))
    assert one != other
    assert all(abs(len(share) - 10_000) < 600 for share in (*one, *other))
