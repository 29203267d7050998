"""On-device training: examples that never look ahead, updates that are clipped, and a round through the real server."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.consent import Purpose
from contracts.errors import WireError
from contracts.events import EventType, Money
from contracts.rounds import RoundTask
from contracts.summary import Activity, OrderLine, Summary, era_of, history_of, weight_at
from device_sim.clock import DeviceClock
from device_sim.device import Happening
from device_sim.examples import Example, examples_of
from device_sim.phone import Phone
from device_sim.trainer import Trainer, clipped
from export.repository import publish, trusted_root
from export.verify import verify_bundle

DAY_MS = 24 * 3_600_000
HOUR = 420_000
FLOATS = 51 + 8


def index(item: str) -> int:
    return int(item) if item.isdecimal() and int(item) <= 50 else 0


ORDERS = st.dictionaries(
    st.integers(0, 8).map("order-{}".format),
    st.dictionaries(
        st.integers(1, 55).map(str),
        st.builds(OrderLine, st.integers(HOUR, HOUR + 30), st.integers(0, 3), st.just(100), st.booleans()),
        max_size=4,
    ),
    max_size=8,
)
ITEMS = st.dictionaries(
    st.integers(1, 55).map(str),
    st.builds(Activity, st.just(((era_of(HOUR), weight_at(HOUR) // 4),)), st.integers(HOUR, HOUR + 30), st.just(5)),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(orders=ORDERS, items=ITEMS)
def test_an_example_does_not_change_with_what_comes_at_or_after_it(orders: dict, items: dict) -> None:
    summary = Summary(items=items, orders=orders)
    for example in examples_of(summary, 16, index):
        hour = example.at_ms // 3_600_000
        past = Summary(
            items={item: activity for item, activity in items.items() if activity.last_hour < hour},
            orders={
                order: lines
                for order, lines in orders.items()
                if lines and all(one.hour < hour for one in lines.values())
            },
        )
        assert example.history == history_of(past, hour, 16, index)
        assert all(age > 0 for age in example.history.ages)
        assert set(example.targets) <= {index(item) for lines in orders.values() for item in lines} - {0}
        assert example.history.items


def test_returned_and_unknown_items_are_no_targets() -> None:
    first = {"1": OrderLine(HOUR, 1, 100)}
    second = {
        "2": OrderLine(HOUR + 5, 1, 100),
        "3": OrderLine(HOUR + 5, 1, 100, refunded=True),
        "99": OrderLine(HOUR + 5, 1, 100),
    }
    (example,) = examples_of(Summary(orders={"a": first, "b": second}), 16, index)
    assert example.targets == (2,)
    assert example.history.items == (1,)
    assert example.history.ages == (5.0,)


@pytest.fixture
def trainer(model_bundle: Path) -> Trainer:
    return Trainer(model_bundle, verify_bundle(model_bundle))


def some_examples() -> list[Example]:
    lines = [{str(1 + number % 5): OrderLine(HOUR + 24 * number, 1, 100), "7": OrderLine(HOUR + 24 * number, 1, 100)}
             for number in range(8)]  # fmt: skip
    return list(examples_of(Summary(orders={f"o-{number}": one for number, one in enumerate(lines)}), 16, index))


def task(trainer: Trainer, **changes) -> RoundTask:
    fields = {
        "task_id": "t", "round_id": "r", "bundle_version": 1, "adapter": trainer.weights().tobytes(),
        "clipping_norm": 0.5, "learning_rate": 0.05, "epochs": 2, "deadline": 0,
    }  # fmt: skip
    return RoundTask(**(fields | changes))


def context(example: Example) -> tuple[int, int]:
    return (1, 1)


def test_weights_go_in_and_come_out_bit_for_bit_in_the_manifest_s_order(trainer: Trainer) -> None:
    flat = np.random.default_rng(1).standard_normal(FLOATS).astype("<f4")
    trainer.set_weights(flat)
    assert trainer.weights().tobytes() == flat.tobytes()
    with pytest.raises(WireError, match=f"adapter has 3 floats, the bundle's has {FLOATS}"):
        trainer.set_weights(flat[:3])


def test_training_lowers_the_loss_on_the_phone_s_own_orders(trainer: Trainer) -> None:
    examples, generator = some_examples(), np.random.default_rng(2)

    def loss() -> float:
        return float(np.mean([trainer.step(one, (1, 1), 0.0, np.random.default_rng(3)) for one in examples]))

    before = loss()
    for _ in range(20):
        for one in examples:
            trainer.step(one, (1, 1), 0.05, generator)
    assert loss() < before - 0.1


def test_an_update_is_what_changed_and_only_its_length_is_clipped(trainer: Trainer) -> None:
    free = np.frombuffer(
        trainer.update(task(trainer, clipping_norm=1e9), some_examples(), context, np.random.default_rng(4)) or b"",
        "<f4",
    )
    trainer.set_weights(np.concatenate([np.zeros(51), np.ones(8)]).astype("<f4"))
    start = task(trainer)
    short = np.frombuffer(trainer.update(start, some_examples(), context, np.random.default_rng(4)) or b"", "<f4")
    assert len(short) == FLOATS
    assert np.linalg.norm(free) > 0.5
    assert np.linalg.norm(short.astype(np.float64)) <= 0.5
    np.testing.assert_allclose(short / np.linalg.norm(short), free / np.linalg.norm(free), atol=1e-5)
    np.testing.assert_allclose(trainer.weights() - np.frombuffer(start.adapter, "<f4"), free, atol=1e-6)


def test_the_same_generator_gives_the_same_update(trainer: Trainer) -> None:
    start = task(trainer)
    updates = {trainer.update(start, some_examples(), context, np.random.default_rng(seed)) for seed in (5, 5, 6)}
    assert len(updates) == 2


def test_diverged_or_idle_training_hands_nothing_in(trainer: Trainer) -> None:
    start = task(trainer)
    assert trainer.update(start, [], context, np.random.default_rng(1)) is None
    wild = task(trainer, adapter=start.adapter, learning_rate=float("inf"))
    assert trainer.update(wild, some_examples(), context, np.random.default_rng(1)) is None
    with pytest.raises(WireError, match="float32"):
        trainer.update(task(trainer, adapter=b"abc"), some_examples(), context, np.random.default_rng(1))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50),
    st.floats(1e-3, 1e3, allow_nan=False),
)
def test_clipping_never_exceeds_the_norm_nor_touches_what_is_within(delta: list[float], norm: float) -> None:
    array = np.array(delta)
    result = np.frombuffer(clipped(array, norm) or b"", "<f4").astype(np.float64)
    assert np.linalg.norm(result) <= norm
    if np.linalg.norm(array) <= norm * 0.999:
        np.testing.assert_array_equal(result, array.astype(np.float32))
    for poison in (np.nan, np.inf, -np.inf):
        assert clipped(np.append(array, poison), norm) is None


def test_a_round_reaches_a_phone_that_allows_it_and_its_update_comes_back_once(
    own_server, write_model_bundle, tmp_path: Path
) -> None:
    from sync_server import rounds
    from sync_server.clock import FileClock
    from sync_server.sql_store import open_store

    bundle = write_model_bundle(tmp_path / "bundle", 1)
    publish(bundle, own_server.repository, tmp_path / "keys")

    def open_phone(login: str, federated: bool) -> Phone:
        clock = DeviceClock(own_server.time.now_ms, "boot")
        root = trusted_root(own_server.repository)
        phone = Phone(tmp_path / login, own_server.http(), clock, random.Random(1), root, {"device_class": "phone"})
        phone.log_in(f"login:{login}", lambda: (own_server.identity_provider.token(f"login:{login}"),))
        for purpose in Purpose:
            phone.decide(f"login:{login}", purpose, granted=federated or purpose is not Purpose.FEDERATED_TRAINING)
        return phone

    phones = [open_phone("willing", True), open_phone("unwilling", False)]
    for day in range(4):
        own_server.time.advance_to(own_server.time.now_ms() + DAY_MS)
        for phone in phones:
            lines = [(str(day + 1), 1), ("7", 2)]
            phone.act(
                Happening(
                    type=EventType.PURCHASE,
                    item_id=f"item-{item}",
                    quantity=quantity,
                    price=Money(5, "USD"),
                    order_id=f"{phone.owner} {day}",
                )
                for item, quantity in lines
            )
            phone.sync()
    store = open_store(f"sqlite:///{own_server.database}", FileClock(own_server.directory / "clock"))
    people = rounds.enrolled_people(store)
    assert len(people) == 1
    adapter = Trainer(bundle, verify_bundle(bundle)).weights().tobytes()
    rounds.open_round(
        store, "round-1", "gateway-1", people, bundle_version=1, adapter=adapter, clipping_norm=0.25,
        learning_rate=0.05, epochs=1, deadline=own_server.time.now_ms() + DAY_MS,
    )  # fmt: skip
    for _ in range(2):
        for phone in phones:
            phone.sync()
    assert [phone.updates_submitted for phone in phones] == [1, 0]
    ((person, delta),) = rounds.collect(store, "round-1", "gateway-1")
    assert person == people[0]
    update = np.frombuffer(delta, "<f4").astype(np.float64)
    assert len(update) == FLOATS
    assert 0 < np.linalg.norm(update) <= 0.25
    store.close()
