"""Whole rounds over a real store, the messages carried by hand: ServerApp and gateways without Flower."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from contracts.errors import CheckFailed, PrivacyError, RunError, WireError
from contracts.noise import seeded_noise
from federated.gateway import answer, sum_of
from federated.ledger import read_ledger
from federated.messages import GatewaySum, OpenRound
from federated.rounds import play_rounds, sums_that_hold
from federated.sampling import draw_cohort
from sync_server.rounds import enrolled_people

DIMENSION = 6
ADAPTER = np.linspace(-1, 1, DIMENSION, dtype="<f4")


def carried(fleet, missing: Sequence[str] = ()) -> Callable[[Sequence[OpenRound]], list[GatewaySum]]:
    """Gateways as threads over the fleet's store."""

    def ask(openings: Sequence[OpenRound]) -> list[GatewaySum]:
        replies: list[GatewaySum] = []
        threads = [
            threading.Thread(target=lambda one=one: replies.append(answer(one, fleet.store)))
            for one in openings
            if one.gateway not in missing
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return replies

    return ask


def constant(value: float) -> Callable[[object], np.ndarray]:
    return lambda task: np.full(DIMENSION, value)


def test_a_round_releases_the_noised_average_of_clipped_updates(settings_of, fleet):
    settings = settings_of()
    fleet.add(constant(0.01), 3)
    fleet.add(constant(1000.0), 2)  # clipped, whatever they send
    with fleet:
        checkpoint = play_rounds(settings, fleet.store, carried(fleet), noise=seeded_noise(5))
    total = np.full(DIMENSION, 3 * 0.01 + 2 * 0.5 / np.sqrt(DIMENSION))
    expected = ADAPTER + (total + 0.5 * seeded_noise(5)(DIMENSION)) / 5
    np.testing.assert_allclose(checkpoint.adapter_array, expected, rtol=1e-5)
    counts = checkpoint.rounds[0]
    assert (counts.people_enrolled, counts.people_sampled, counts.updates, counts.gateways) == (5, 5, 5, 2)
    [entry] = read_ledger(Path(settings.ledger))
    assert (entry.round_id, entry.people_enrolled, entry.clipping_norm) == (counts.round_id, 5, 0.5)


@pytest.mark.parametrize("missing", [("gateway-0",), ("gateway-1",)])
def test_a_missing_gateway_changes_neither_noise_nor_denominator(settings_of, fleet, missing):
    settings = settings_of()
    fleet.add(constant(0.01), 8)
    with fleet:
        checkpoint = play_rounds(settings, fleet.store, carried(fleet, missing), noise=seeded_noise(5))
    counts = checkpoint.rounds[0]
    assert counts.gateways == 1
    assert counts.updates < counts.people_sampled == 8
    expected = ADAPTER + (counts.updates * 0.01 + 0.5 * seeded_noise(5)(DIMENSION)) / 8
    np.testing.assert_allclose(checkpoint.adapter_array, expected, rtol=1e-5)


def test_phones_that_stay_away_are_waited_for_until_the_deadline_and_no_longer(settings_of, fleet):
    settings = settings_of(round_seconds=1.0)
    fleet.add(constant(0.01), 4)  # but the fleet never comes back
    checkpoint = play_rounds(settings, fleet.store, carried(fleet), noise=seeded_noise(5))
    counts = checkpoint.rounds[0]
    assert (counts.updates, counts.gateways) == (0, 2)
    expected = ADAPTER + 0.5 * seeded_noise(5)(DIMENSION) / 4
    np.testing.assert_allclose(checkpoint.adapter_array, expected, rtol=1e-5)


def test_patience_ends_a_wait_on_a_clock_that_stands_still(fleet):
    fleet.add(constant(0.01), 2)
    opening = OpenRound(
        round_id="r",
        gateway="gateway-0",
        people=tuple(enrolled_people(fleet.store)),
        bundle_version=3,
        adapter=ADAPTER.tobytes(),
        clipping_norm=1.0,
        learning_rate=0.1,
        epochs=1,
        deadline=2**53,
        patience_seconds=0.2,
    )
    assert answer(opening, fleet.store).updates == 0


def test_the_deadline_is_the_servers(fleet):
    fleet.add(constant(0.01), 2)
    passed = msgspec.structs.replace(
        opening_of(), people=tuple(enrolled_people(fleet.store)), deadline=0, patience_seconds=60.0
    )
    began = time.monotonic()
    assert answer(passed, fleet.store).updates == 0
    assert time.monotonic() - began < 30


def test_only_who_is_drawn_is_asked(settings_of, fleet):
    settings = settings_of(sampling_rate=0.5)
    phones = fleet.add(constant(0.01), 8)
    drawn = draw_cohort(enrolled_people(fleet.store), 0.5, random.Random(3))
    assert 0 < len(drawn) < 8
    with fleet:
        checkpoint = play_rounds(settings, fleet.store, carried(fleet), noise=seeded_noise(5), coins=random.Random(3))
    counts = checkpoint.rounds[0]
    assert (counts.people_enrolled, counts.people_sampled, counts.updates) == (8, len(drawn), len(drawn))
    assert sum(len(phone.receipts) for phone in phones) == len(drawn)
    expected = np.frombuffer(settings.adapter, "<f4") + (len(drawn) * 0.01 + 0.5 * seeded_noise(5)(DIMENSION)) / (
        0.5 * 8
    )
    np.testing.assert_allclose(checkpoint.adapter_array, expected, rtol=1e-5)


def test_rounds_go_on_where_an_interrupted_run_stopped(settings_of, fleet):
    settings = settings_of()
    fleet.add(constant(0.01), 3)
    noise = seeded_noise(5)
    with fleet:
        first = play_rounds(settings, fleet.store, carried(fleet), noise=noise)
        same = play_rounds(settings, fleet.store, carried(fleet), noise=noise)
        three = play_rounds(msgspec.structs.replace(settings, rounds=3), fleet.store, carried(fleet), noise=noise)
    assert same == first
    assert three.rounds[0] == first.rounds[0]
    assert len({counts.round_id for counts in three.rounds}) == 3
    assert len(read_ledger(Path(settings.ledger))) == 3


def test_a_round_that_no_gateway_answers_is_not_charged(settings_of, fleet):
    settings = settings_of()
    phones = fleet.add(constant(0.01), 3)

    def open_and_die(openings: Sequence[OpenRound]) -> list[GatewaySum]:
        for one in openings:
            answer(msgspec.structs.replace(one, patience_seconds=0.0), fleet.store)
        assert all(phone.sync() for phone in phones)
        return []

    with pytest.raises(CheckFailed, match="nothing was charged"):
        play_rounds(settings, fleet.store, open_and_die)
    assert read_ledger(Path(settings.ledger)) == ()
    assert [phone.sync() for phone in phones] == [None] * 3  # and no task stays open


def test_nobody_enrolled_is_no_round(settings_of, fleet):
    with pytest.raises(CheckFailed, match="nobody is enrolled"):
        play_rounds(settings_of(), fleet.store, carried(fleet))


def test_a_spent_budget_opens_no_round(settings_of, fleet):
    settings = settings_of(epsilon_budget=0.5)
    phones = fleet.add(constant(0.01), 2)
    with fleet, pytest.raises(PrivacyError, match="budget"):
        play_rounds(settings, fleet.store, carried(fleet))
    assert not any(phone.receipts for phone in phones)


def test_a_state_folder_of_another_adapter_is_refused(settings_of, fleet):
    settings = settings_of(round_seconds=0.5)
    fleet.add(constant(0.01), 2)
    play_rounds(settings, fleet.store, carried(fleet))
    other = msgspec.structs.replace(settings, adapter=bytes(4 * DIMENSION))
    with pytest.raises(RunError, match="another state folder"):
        play_rounds(other, fleet.store, carried(fleet))


def opening_of(people: int = 3) -> OpenRound:
    return OpenRound(
        round_id="r",
        gateway="gateway-0",
        people=tuple(range(people)),
        bundle_version=1,
        adapter=ADAPTER.tobytes(),
        clipping_norm=1.0,
        learning_rate=0.1,
        epochs=1,
        deadline=0,
        patience_seconds=0.0,
    )


def test_a_gateway_counts_malformed_updates_and_leaves_them_out():
    good = np.full(DIMENSION, 0.1, "<f4")
    poison = good.copy()
    poison[2] = np.nan
    reply = sum_of(opening_of(4), [good.tobytes(), poison.tobytes(), good.tobytes()[:-4], good.tobytes()])
    assert (reply.updates, reply.refused) == (2, 2)
    np.testing.assert_allclose(np.frombuffer(reply.total, "<f8"), 2 * good.astype(np.float64))


def total_of(value: float, dimension: int = DIMENSION) -> bytes:
    return np.full(dimension, value, "<f8").tobytes()


@pytest.mark.parametrize(
    "fault",
    [
        {"total": total_of(np.nan)},
        {"total": total_of(np.inf)},
        {"total": total_of(0.9)},  # longer than two updates of norm 1 can add up to
        {"total": total_of(0.1, DIMENSION - 1)},
        {"updates": 4},
        {"updates": -1},
        {"gateway": "gateway-9"},
        {"round_id": "another"},
    ],
)
def test_a_reply_that_cannot_be_a_sum_of_clipped_updates_counts_as_missing(fault):
    fair = GatewaySum(round_id="r", gateway="gateway-0", total=total_of(0.5), updates=2, refused=0)
    assert sums_that_hold([opening_of()], [fair, fair]) == [fair]
    assert sums_that_hold([opening_of()], [msgspec.structs.replace(fair, **fault)]) == []


def test_an_adapter_that_is_no_float32_vector_opens_nothing(fleet):
    fleet.add(constant(0.0), 1)
    with pytest.raises(WireError, match="float32"):
        answer(msgspec.structs.replace(opening_of(), adapter=b"abc", people=(1,)), fleet.store)
