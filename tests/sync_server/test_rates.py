"""A device's rate: a bucket that is full at first and fills with time; held against a plain reckoning."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import codec
from contracts.errors import TooManyError
from contracts.identity import DeviceRole
from contracts.sync import CHALLENGE_HEADER, Dropped, Problem, SeqRange
from sync_server import rates
from sync_server.rates import Rate, Rates

RATE = Rate(requests_per_s=2, requests_at_once=5, events_per_s=50, events_at_once=500)
PHONE, TILL = DeviceRole.PHONE, DeviceRole.TILL


class Watch:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def refused(take, *arguments) -> TooManyError | None:
    try:
        take(*arguments)
    except TooManyError as error:
        return error
    return None


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 500)), max_size=40))
def test_what_is_taken_is_what_the_bucket_held(steps):
    """Quarters of seconds pass between requests, each with some events; exact numbers tell what must be allowed."""
    watch = Watch()
    limited = Rates(RATE, None, watch)
    tokens = Fraction(500)
    for quarters, events in steps:
        watch.now_s += quarters / 4
        tokens = min(Fraction(500), tokens + Fraction(quarters, 4) * 50)
        error = refused(limited.events, "a", PHONE, events)
        assert (error is None) == (events <= tokens)
        if error is None:
            tokens -= events
        else:
            assert error.retry_after_s == max(1, -((tokens - events) // 50))
            assert tokens + error.retry_after_s * 50 >= events  # come back then, and it is enough


def test_a_limit_names_itself_and_others_are_not_held_up():
    watch = Watch()
    limited = Rates(RATE, None, watch)
    for _ in range(5):
        limited.request("a", PHONE)
    with pytest.raises(TooManyError, match=r"requests_per_s = 2 \(requests_at_once = 5\).*come back in 1 s"):
        limited.request("a", PHONE)
    limited.request("b", PHONE)
    for _ in range(100):
        limited.request("till", TILL)  # of the shop: no limit here
    watch.now_s += 0.5
    limited.request("a", PHONE)
    assert refused(limited.request, "a", PHONE)


def test_who_was_not_heard_of_for_long_is_forgotten(monkeypatch):
    monkeypatch.setattr(rates, "MAX_HELD_BUCKETS", 2)
    limited = Rates(RATE, None, Watch())
    for _ in range(5):
        limited.request("a", PHONE)
    for other in ("b", "a", "c", "d", "e"):
        refused(limited.request, other, PHONE)
    assert len(limited._held) == 2
    limited.request("a", PHONE)


def test_a_device_over_its_rate_is_answered_429(server_process):
    limit = {"requests_per_s": 0.001, "requests_at_once": 3, "events_per_s": 0.001, "events_at_once": 500}
    server_process.configure(phone_rate=Rate(**limit))
    world = server_process.start()
    phone, other = world.phone(), world.phone()
    phone.log_in("login:ada")
    body = codec.encode(phone.request(*(phone.event() for _ in range(500))))
    assert world.wire.post("/v1/sync", body, phone.device_id).status_code == 200
    for named in ("events_per_s = 0.001", "requests_per_s = 0.001"):
        answer = world.wire.post("/v1/sync", body, phone.device_id)
        assert (answer.status_code, int(answer.headers["retry-after"]) > 100) == (429, True)
        assert named in codec.decode(answer.content, Problem).detail
        assert CHALLENGE_HEADER in answer.headers
    assert other.sync().watermark == -1


def test_ranges_count_as_events_and_more_than_fit_at_once_take_all(server_process):
    limit = {"requests_per_s": 10**6, "requests_at_once": 10**6, "events_per_s": 0.001, "events_at_once": 500}
    server_process.configure(phone_rate=Rate(**limit))
    world = server_process.start()
    phone = world.phone()
    some = tuple(SeqRange(2 * number, 2 * number) for number in range(600))
    phone.sync(held=some)
    for fields in ({"held": some[:1]}, {"dropped": (Dropped(range=some[0], counts={}),)}):
        answer = world.wire.post("/v1/sync", codec.encode(phone.request(**fields)), phone.device_id)
        assert answer.status_code == 429
    phone.sync()
