"""The mailbox of federated rounds: one task and one update per person, in time, with consent."""

import numpy as np
import pytest

from contracts.consent import Purpose
from contracts.errors import WireError
from contracts.rounds import RoundUpdate
from sync_server import census, rounds

ADAPTER = np.arange(4, dtype="<f4").tobytes()
DELTA = np.full(4, 0.5, dtype="<f4").tobytes()
HOUR_MS = 3_600_000


@pytest.fixture
def enrolled(world):
    """Make a phone of a login that allows federated training and has synced."""

    def make(login, *also):
        phone = world.phone()
        phone.log_in(login, *also)
        return phone

    return make


@pytest.fixture
def open_round(world):
    def open_(people=None, round_id="round-1", gateway="gateway-0", **fields):
        defaults = {
            "bundle_version": 3,
            "adapter": ADAPTER,
            "clipping_norm": 1.0,
            "learning_rate": 0.1,
            "epochs": 2,
            "deadline": world.clock.now_ms() + HOUR_MS,
        }
        cohort = rounds.enrolled_people(world.store) if people is None else people
        return rounds.open_round(world.store, round_id, gateway, cohort, **(defaults | fields))

    return open_


@pytest.fixture
def collected(world):
    def collect(gateway="gateway-0", round_id="round-1"):
        return rounds.collect(world.store, round_id, gateway)

    return collect


def task_of(phone, **fields):
    return phone.sync(**({"owner": phone.owner, "bundle_version": 3} | fields)).task


def submit(phone, task, delta=DELTA):
    return phone.world.wire.submit(phone.device_id, RoundUpdate(task_id=task.task_id, delta=delta))


def test_who_allows_it_on_a_phone_that_synced_is_enrolled_once(world, enrolled):
    ada, _ = enrolled("login:ada"), enrolled("login:ada")
    enrolled("login:bob")
    world.phone().log_in("login:eve", purposes=(Purpose.PERSONALIZATION,))
    till = world.till()
    till.sync(consents=(till.fact(Purpose.FEDERATED_TRAINING, owner="card:1"),))
    people = census.persons(world.store, ["login:ada", "login:bob"])
    assert rounds.enrolled_people(world.store) == sorted(people.values())
    ada.sync(owner="login:ada", consents=(ada.fact(Purpose.FEDERATED_TRAINING, granted=False),))
    assert rounds.enrolled_people(world.store) == [people["login:bob"]]


def test_a_round_from_opening_to_closing(world, enrolled, open_round, collected):
    ada, bob = enrolled("login:ada"), enrolled("login:bob")
    assert (open_round(), open_round()) == (2, 2)  # a gateway asked again finds its tasks
    tasks = [task_of(phone) for phone in (ada, bob)]
    assert tasks[0].task_id != tasks[1].task_id
    assert (tasks[0].adapter, tasks[0].bundle_version, tasks[0].epochs) == (ADAPTER, 3, 2)
    assert task_of(ada) == tasks[0]  # a lost answer is asked for again
    assert submit(ada, tasks[0]).accepted
    assert submit(ada, tasks[0]).accepted  # and so is a lost receipt
    assert not submit(ada, tasks[0], DELTA[::-1]).accepted
    assert task_of(ada) is None
    assert collected() == [(rounds.enrolled_people(world.store)[0], DELTA)]
    rounds.close_round(world.store, "round-1")
    assert task_of(bob) is None
    assert "late" in submit(bob, tasks[1]).reason
    assert len(collected()) == 1


def test_who_gets_no_task(world, enrolled, open_round):
    ada = enrolled("login:ada")
    open_round()
    assert task_of(ada, bundle_version=2) is None
    assert task_of(ada, bundle_version=4) is None
    assert task_of(ada, accepts_tasks=False) is None
    assert task_of(ada, owner=None) is None
    bob = enrolled("login:bob")  # enrolled after the round opened
    assert task_of(bob) is None
    world.pass_hours(1)
    assert task_of(ada) is None


def test_one_update_per_person_across_phones(enrolled, open_round, collected):
    one, two = enrolled("login:ada"), enrolled("login:ada")
    open_round()
    task = task_of(one)
    assert task_of(two) == task
    assert submit(two, task).accepted
    assert "answered" in submit(one, task, np.zeros(4, "<f4").tobytes()).reason
    assert len(collected()) == 1


def test_one_update_per_person_across_gateways_also_when_two_turn_out_to_be_one(enrolled, open_round, collected):
    one, two = enrolled("login:ada"), enrolled("login:eve")
    both = rounds.enrolled_people(one.world.store)
    open_round([both[0]])
    open_round([both[1]], gateway="gateway-1")
    assert open_round([both[0]], gateway="gateway-1") == 1  # has a task at the other gateway
    first, second = task_of(one), task_of(two)
    one.log_in("login:ada", "login:eve")
    assert submit(one, first).accepted
    assert task_of(two) is None
    assert "answered" in submit(two, second).reason
    assert (len(collected("gateway-0")), collected("gateway-1")) == (1, [])


def test_consent_withdrawn_before_the_update_comes(enrolled, open_round, collected):
    ada = enrolled("login:ada")
    open_round()
    task = task_of(ada)
    assert task_of(ada, consents=(ada.fact(Purpose.FEDERATED_TRAINING, granted=False),)) is None
    assert "not allowed any more" in submit(ada, task).reason
    assert collected() == []


def test_an_update_after_the_deadline_is_dropped(world, enrolled, open_round, collected):
    ada = enrolled("login:ada")
    open_round()
    task = task_of(ada)
    world.clock.time_ms = task.deadline
    assert "late" in submit(ada, task).reason
    assert collected() == []


@pytest.mark.parametrize(
    ("delta", "says"),
    [
        (DELTA[:-4], "12 bytes"),
        (DELTA + b"\0\0\0\0", "20 bytes"),
        (b"", "0 bytes"),
        (np.array([0, np.nan, 0, 0], "<f4").tobytes(), "NaN"),
        (np.array([0, 0, 0, -np.inf], "<f4").tobytes(), "infinity"),
    ],
)
def test_a_malformed_update_is_rejected_and_the_task_stays_open(enrolled, open_round, collected, delta, says):
    ada = enrolled("login:ada")
    open_round()
    assert says in submit(ada, task_of(ada), delta).reason
    assert collected() == []
    assert submit(ada, task_of(ada)).accepted


def test_an_unknown_task_is_rejected(world):
    assert "no such task" in rounds.submit(world.store, RoundUpdate(task_id="guess", delta=DELTA)).reason


def test_an_adapter_that_is_no_float32_is_refused(open_round):
    with pytest.raises(WireError, match="3 bytes"):
        open_round(adapter=b"abc")
