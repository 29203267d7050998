"""What follows, kept on the device: as counted, and alike in every runtime."""

import numpy as np
import pytest
import tensorflow as tf

from compression.checkpoint import load_device_model, save_device_model
from compression.successors import Successors
from contracts.bundle import CORE_ML, ONNX, TFLITE
from export.artifacts import exporters
from export.runtimes import open_evaluator
from training.sequence.rules import GAPS
from training.sequence.sequences import Sequences
from training.sequence.transitions import Transitions

ITEMS, LENGTH, HEED = 40, 12, 0.75


@pytest.fixture(scope="module")
def transitions() -> Transitions:
    rng = np.random.default_rng(3)
    near = (np.cumsum(rng.integers(1, 4, 2_000)) % ITEMS + 1).astype(np.int32)
    return Transitions.of(Sequences(near, np.arange(0, 2_001, 20), ITEMS))


@pytest.fixture(scope="module")
def model(make, transitions):
    found = make["model"](make["spec"](LENGTH, blocks=1))
    found.successors = Successors.of(transitions, 3, HEED)
    return found


@pytest.fixture(scope="module")
def feeds(make) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(4)
    sizes = (0, 1, 3, 5, LENGTH)
    items = [rng.choice(np.arange(1, ITEMS + 1), size, replace=False).tolist() for size in sizes]
    return [make["feed"](had, [9] * len(had), [1.0] * len(had), [0.0] * len(had), [0, 0, 0], LENGTH) for had in items]


def scores(model, feed: dict[str, np.ndarray]) -> np.ndarray:
    return model.scores(**{name: tf.constant(value) for name, value in feed.items()}).numpy()


def test_an_items_successors_come_after_it_most_often(transitions, model):
    shares = transitions.shares.toarray()
    for item, kept in enumerate(model.successors.items[1:], 1):
        strongest = np.sort(shares[item])[::-1][: len(kept)]
        assert np.array_equal(shares[item, kept[kept > 0]], strongest[strongest > 0])
        assert not shares[item, 0], "nothing follows that is no item"
    assert np.all(np.diff(model.successors.shares) <= 0)
    assert np.all(model.successors.shares > 0)


def test_where_all_items_are_alike_they_are_the_transitions():
    """Around a ring every item is followed by the next, the next but one and so on, at the same shares."""
    ring = (np.arange(4_000) % ITEMS + 1).astype(np.int32)
    transitions = Transitions.of(Sequences(ring, np.array([0, 4_000]), ITEMS))
    kept = Successors.of(transitions, GAPS, HEED)
    recent = np.array([[0, 0, 3], [5, 6, 7]], np.int32)
    ours, theirs = (each.log_shares(recent)[:, 1:].exp() for each in (kept, transitions))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_the_graph_adds_what_is_heeded(model, feeds):
    without = model.copied(model.recipe)
    without.successors = None
    for feed in feeds:
        added = scores(model, feed) - scores(without, feed)
        wanted = HEED * model.successors.log_shares(feed["items"]).numpy()[0]
        np.testing.assert_allclose(added[1:], wanted[1:], atol=2e-3)  # of scores in the thousands


@pytest.mark.parametrize("artifact", [CORE_ML, ONNX, TFLITE])
def test_every_runtime_answers_alike(model, feeds, artifact: str, tmp_path):
    exporters()[artifact].export(model, tmp_path / artifact, "fp32")
    evaluator, stored = open_evaluator(tmp_path / artifact), model.frozen("float32")
    for feed in feeds:
        items, found = evaluator.rank(feed)
        ours = scores(stored, feed)
        np.testing.assert_allclose(found, np.sort(ours[1:])[::-1][: len(items)], atol=1e-4)
        np.testing.assert_allclose(found, ours[items], atol=1e-4)


def test_a_model_comes_back_with_them(model, feeds, tmp_path):
    version = save_device_model(model, tmp_path, "dynamic_wi8_afp32")
    back = load_device_model(tmp_path)
    for name, value in vars(model.successors).items():
        assert np.array_equal(getattr(back.successors, name), value)
        assert getattr(back.successors, name).dtype == value.dtype
    model.successors, kept = model.successors.heeded(0.5), model.successors
    try:
        assert save_device_model(model, tmp_path, "dynamic_wi8_afp32") != version
    finally:
        model.successors = kept


def test_training_on_the_phone_sees_them(model):
    """The loss of a target that often follows is less than without."""
    item = 7
    after = int(model.successors.items[item, 0])
    without = model.copied(model.recipe)
    without.successors = None
    history = np.zeros((1, LENGTH), np.int32)
    history[0, -1] = item
    others = [other for other in range(1, ITEMS + 1) if other not in (item, after)][:12]
    losses = [
        float(
            one._basket_loss(
                tf.constant(history),
                tf.constant(np.where(history, 9, 0).astype(np.int32)),
                tf.constant((history > 0).astype(np.float32)),
                tf.zeros((1, LENGTH)),
                tf.zeros((1, 3), tf.int32),
                tf.constant([[after, 0, 0]]),
                tf.constant([others]),
            )
        )
        for one in (model, without)
    ]
    assert losses[0] < losses[1]
