"""The device model with blocks of self-attention."""

import numpy as np
import pytest
import tensorflow as tf

from compression.device_model import DeviceModel
from compression.sequence_encoder import RootMeanSquareNorm
from contracts.errors import ConfigError

LENGTH = 6


@pytest.fixture(scope="module", params=[0, 24], ids=["as wide as vectors", "wider"])
def model(make, request) -> DeviceModel:
    return make["model"](make["spec"](LENGTH, blocks=2, hidden=request.param))


@pytest.fixture(scope="module")
def batch() -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(0)
    items = rng.integers(1, 41, (3, LENGTH)).astype(np.int32)
    items[0, :3] = items[1, :1] = 0
    return {
        "items": tf.constant(items),
        "events": tf.constant((items > 0).astype(np.int32)),
        "counts": tf.constant((items > 0).astype(np.float32)),
        "ages": tf.constant(rng.random((3, LENGTH)).astype(np.float32)),
        "context": tf.constant(np.array([[1, 1, 0], [2, 0, 0], [0, 2, 0]], np.int32)),
    }


def asked(model: DeviceModel, batch: dict[str, tf.Tensor]) -> tf.Tensor:
    return model.queries_at(batch["items"], batch["events"], batch["context"])


def test_the_last_place_alone_answers_as_among_all(model, batch):
    query, _, _ = model.encode(**batch)
    np.testing.assert_allclose(query, asked(model, batch)[:, -1], rtol=1e-4, atol=1e-5)


def test_a_place_does_not_see_what_follows(model, batch):
    items = batch["items"].numpy()
    items[:, 4:] = 1 + items[:, 4:] % 40
    changed = asked(model, batch | {"items": tf.constant(items)})
    whole = asked(model, batch)
    held = batch["items"].numpy()[:, :4] > 0  # what padding asks for is nobody's
    np.testing.assert_allclose(changed[:, :4][held], whole[:, :4][held], rtol=1e-4, atol=1e-5)
    assert not np.allclose(changed[:, 4], whole[:, 4], atol=1e-3)


def test_padding_is_not_seen(model, batch):
    """The same history with more padding before it is asked the same."""
    shorter = {name: value[:, 3:] if value.shape[1] == LENGTH else value for name, value in batch.items()}
    np.testing.assert_allclose(asked(model, shorter)[0], asked(model, batch)[0, 3:], rtol=1e-4, atol=1e-5)


def test_a_norm_leaves_the_direction_and_makes_every_length_one():
    x = np.random.default_rng(1).normal(3.0, 5.0, (2, 7, 16)).astype(np.float32)
    x[0, 3] = 0
    found = RootMeanSquareNorm()(tf.constant(x)).numpy()
    lengths = np.linalg.norm(x, axis=-1, keepdims=True) / 4.0  # root of 16
    np.testing.assert_allclose(found, x / np.maximum(lengths, 1e-3), rtol=1e-4)


def test_blocks_that_no_heads_share_evenly_are_refused(make):
    with pytest.raises(ConfigError, match="hidden 25 is no multiple of 2 heads"):
        make["spec"](LENGTH, blocks=2, hidden=25)


def test_order_matters(model, batch):
    reverse = {name: value[:, ::-1] if value.shape[1] == LENGTH else value for name, value in batch.items()}
    assert not np.allclose(model.encode(**reverse)[0][2], model.encode(**batch)[0][2], atol=1e-3)


def test_hidden_tokens_are_not_seen(model, batch):
    drop = np.zeros((3, LENGTH), bool)
    drop[:, 3] = True
    items = batch["items"].numpy()
    items[:, 3] = 1 + items[:, 3] % 40
    changed = {**batch, "items": tf.constant(items), "drop": tf.constant(drop)}
    np.testing.assert_allclose(
        model.encode(**changed)[0], model.encode(**batch, drop=tf.constant(drop))[0], rtol=1e-4, atol=1e-5
    )
