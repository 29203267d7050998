"""What a model sees of itself while it trains is what is stored of it."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from compression.dense_weights import rounded
from compression.device_model import DeviceModel
from compression.fake_quantization import straight_through
from compression.fine_tuning import fine_tune
from compression.grid import LEVELS, SMALLEST_KERNEL
from compression.next_item import NextItemDistillation, distil_next_item, inputs_of
from compression.passes import compressed
from compression.recipe import Recipe
from compression.search.candidates import trained, whole_space
from export.tflite_constants import of_kernel
from training.sequence.sequences import Sequences
from training.sequence.soft_labels import NextItemLabels

LENGTH, ITEMS = 8, 20
recipes = st.sampled_from(whole_space()).map(trained)


@pytest.fixture(scope="module")
def distilled(make) -> DeviceModel:
    """Some of its kernels are large enough for integers, some are not."""
    model = make["model"](make["spec"](LENGTH, items=ITEMS, candidates=5, blocks=1))
    sizes = {weight.size >= SMALLEST_KERNEL for weight in model.token_encoder.get_weights() if weight.ndim == 2}
    assert sizes == {True, False}
    return model


def answers(model: DeviceModel) -> tuple[np.ndarray, ...]:
    items = np.random.default_rng(1).integers(0, ITEMS + 1, (6, LENGTH)).astype(np.int32)
    query, base, _ = model.encode(**inputs_of(items, model.spec))
    return model.table.score(query).numpy(), base.numpy()


def shaken(model: DeviceModel, seed: int) -> None:
    """Move every weight by itself, as a bad training might."""
    rng = np.random.default_rng(seed)
    for variable in (*model.token_encoder.variables, *model.query_encoder.variables, model.table.values):
        variable.assign_add(rng.normal(0.0, 0.1, variable.shape))
    model.table.end_training()


def anything() -> tuple[Sequences, NextItemLabels]:
    """A log and what a teacher might say of it."""
    rng = np.random.default_rng(2)
    item = rng.permuted(np.tile(np.arange(1, ITEMS + 1), (12, 1)), axis=1)[:, :9].ravel().astype(np.int32)
    labels = NextItemLabels(
        rng.integers(1, ITEMS + 1, (len(item), 3)).astype(np.int32),
        np.zeros((len(item), 3), np.float16),
        np.zeros((ITEMS + 1, 16), np.float32),
        np.zeros(ITEMS + 1, np.float32),
    )
    return Sequences(item, np.arange(0, len(item) + 1, 9), ITEMS), labels


def assert_same(found: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@given(recipe=recipes, seed=st.integers(0, 1000))
@settings(max_examples=4)
def test_wherever_training_ends_the_stored_form_computes_what_was_seen(distilled, recipe: Recipe, seed: int) -> None:
    seen = []

    def train(model: DeviceModel) -> None:
        shaken(model, seed)
        seen.append(answers(model))

    tuned = fine_tune(distilled, recipe, train)
    assert_same(answers(compressed(tuned, recipe)), seen[0])


def test_a_training_moves_clusters_and_stores_what_it_saw(distilled) -> None:
    log, labels = anything()
    recipe = Recipe(pruned=50, clusters=16, aware=True, dense="int4", table="int4")
    gentle = NextItemDistillation(epochs=3, positions=64, matrix_rate=3e-2, rate=1e-2, quantize_from=0.0)
    begun, seen = [], []

    def kernel(model: DeviceModel) -> np.ndarray:
        return model.token_encoder.get_layer("block0_feed_in").kernel.numpy()

    def train(model: DeviceModel) -> None:
        begun.append(kernel(model))
        distil_next_item(model, log, labels, gentle, 0, lambda *_: None)
        seen.append(answers(model))

    tuned = fine_tune(distilled, recipe, train)
    assert_same(answers(compressed(tuned, recipe)), seen[0])
    before, after = begun[0], kernel(tuned)
    assert np.abs(after - before).max() > 1e-3
    assert np.array_equal(after == 0, before == 0)
    for value in np.unique(before):
        assert len(np.unique(after[before == value])) == 1


@given(seed=st.integers(0, 1000), storage=st.sampled_from(sorted(LEVELS)))
def test_a_kernel_is_seen_as_an_artifact_s_integers_stand_for(seed: int, storage: str) -> None:
    kernel = np.random.default_rng(seed).standard_t(3, (32, 40)).astype(np.float32)
    constant = of_kernel(rounded(kernel, storage).T, storage)
    halves = constant.data[:, None] >> np.array([0, 4], np.uint8) & 0xF  # two to a byte
    codes = constant.data.view(np.int8) if storage == "int8" else (halves.ravel() ^ 8).astype(np.int64) - 8
    held = codes.reshape(40, 32) * constant.scales[:, None]
    np.testing.assert_allclose(straight_through(tf.constant(kernel), storage).numpy(), held.T, rtol=1e-5, atol=1e-6)
