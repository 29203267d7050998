"""`model.train.tflite`: the adapter's own bits out, others in, and training that learns."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from contracts.bundle import TRAINABLE_TFLITE
from export.signatures import manifest_signatures


@pytest.fixture
def interpreter(exported: Path) -> Interpreter:
    return Interpreter(model_path=str(exported / "shipped" / TRAINABLE_TFLITE), num_threads=1)


ASK = np.int32(0)


def basket(feed: dict, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    targets = np.zeros((1, 4), np.int32)
    targets[0, :3] = [*feed["items"][0, -2:], 400]
    negatives = rng.choice(np.setdiff1d(np.arange(1, 501), targets), (1, 32), replace=False).astype(np.int32)
    return feed | {"targets": targets, "negatives": negatives, "rate": np.float32(0.02)}


def test_get_weights_returns_the_float_adapter_bit_for_bit(interpreter: Interpreter, model) -> None:
    found = interpreter.get_signature_runner("get_weights")(ask=ASK)
    assert found.keys() == model.adapter_values().keys() | {"asked"}
    for name, value in model.adapter_values().items():
        assert found[name].tobytes() == value.tobytes()


def test_what_was_set_is_what_is_got_and_what_recommends(interpreter: Interpreter, model, feeds) -> None:
    get, put, recommend = (
        interpreter.get_signature_runner(name) for name in ("get_weights", "set_weights", "recommend")
    )
    before = recommend(**feeds[9])["scores"]
    rng = np.random.default_rng(1)
    wanted = {
        name: rng.normal(0, 0.3, value.shape).astype(np.float32) for name, value in model.adapter_values().items()
    }
    put(**wanted)
    found = get(ask=ASK)
    assert all(np.array_equal(found[name], value) for name, value in wanted.items())
    assert not np.allclose(recommend(**feeds[9])["scores"], before)


def test_training_lowers_the_loss_and_a_rate_of_nothing_changes_nothing(interpreter: Interpreter, feeds) -> None:
    get, train = (interpreter.get_signature_runner(name) for name in ("get_weights", "train"))
    before = get(ask=ASK)
    train(**basket(feeds[9], 1) | {"rate": np.float32(0)})
    assert all(np.array_equal(value, before[name]) for name, value in get(ask=ASK).items())
    losses = [float(train(**basket(feeds[9], step))["loss"]) for step in range(40)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.2


def test_every_signature_takes_and_gives_what_the_manifest_says(interpreter: Interpreter, model) -> None:
    for name, said in manifest_signatures(model).items():
        runner = interpreter.get_signature_runner(name)
        for details, specs in ((runner.get_input_details(), said.inputs), (runner.get_output_details(), said.outputs)):
            found = {key: (np.dtype(one["dtype"]).name, tuple(one["shape"].tolist())) for key, one in details.items()}
            assert found == {spec.name: (spec.dtype, spec.shape) for spec in specs}
