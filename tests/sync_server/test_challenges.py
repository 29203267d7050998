import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import AuthenticationError
from sync_server.challenges import LIFETIME_MS, Challenges

NOW = 1_700_000_000_000
challenges = Challenges(b"k" * 32)


@given(st.text(min_size=1), st.integers(0, LIFETIME_MS))
def test_what_was_given_to_a_device_is_taken_from_it_for_a_day(device_id: str, later: int):
    challenges.check(challenges.issue(device_id, NOW), device_id, NOW + later)


@given(st.text())
def test_anything_else_is_refused_in_one_line(invented: str):
    with pytest.raises(AuthenticationError, match="none of this server's"):
        challenges.check(invented, "device", NOW)


@pytest.mark.parametrize("now_ms", [NOW - 1, NOW + LIFETIME_MS + 1])
def test_it_is_good_neither_before_nor_long_after(now_ms: int):
    with pytest.raises(AuthenticationError, match="older than 24 hours"):
        challenges.check(challenges.issue("device", NOW), "device", now_ms)


def test_another_device_or_server_cannot_use_it():
    given_to_device = challenges.issue("device", NOW)
    with pytest.raises(AuthenticationError):
        challenges.check(given_to_device, "other", NOW)
    with pytest.raises(AuthenticationError):
        Challenges(b"l" * 32).check(given_to_device, "device", NOW)
