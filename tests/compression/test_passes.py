"""Compression without training: what each pass does, and that the trained model stays as it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compression.compression_pass import PASSES, Pass
from compression.dense_weights import rounded
from compression.fake_quantization import fake_quantized, straight_through
from compression.passes import compressed, passes
from compression.pruning import pruned
from compression.recipe import STORAGES, Recipe
from contracts.errors import ConfigError

kernels = arrays(np.float32, (16, 3), elements=st.integers(-64, 64).map(lambda n: n / 16))


def dense_kernels(model) -> list[np.ndarray]:
    import tf_keras

    return [
        layer.kernel.numpy()
        for encoder in (model.token_encoder, model.query_encoder)
        for layer in encoder.layers
        if isinstance(layer, tf_keras.layers.Dense)
    ]


def test_every_pass_registers_once_and_stands_in_its_order() -> None:
    assert [each.name for each in passes()] == ["pruning", "clustering", "dense weights", "table storage"]
    with pytest.raises(ConfigError, match="Second and PruneDense are both called pruning"):

        class Second(Pass):
            name = "pruning"

    assert "Second" not in {type(each).__name__ for each in PASSES.values()}


@pytest.mark.parametrize("table", STORAGES)
def test_a_compressed_model_is_another_and_stored_as_the_recipe_says(model, table: str) -> None:
    before = [weight.copy() for weight in model.token_encoder.get_weights()]
    recipe = Recipe(pruned=50, clusters=8, table=table)
    small = compressed(model, recipe)
    assert small.recipe == recipe
    assert small.table.frozen().storage == table
    for kernel in dense_kernels(small):
        assert (kernel == 0).mean() >= 0.49
    assert all(np.array_equal(old, new) for old, new in zip(before, model.token_encoder.get_weights(), strict=True))


def test_clusters_leave_few_values_and_all_zeros(model) -> None:
    once = compressed(model, Recipe(pruned=50, dense="float32", table="float32"))
    few = compressed(model, Recipe(pruned=50, clusters=8, dense="float32", table="float32"))
    for kernel, whole in zip(dense_kernels(few), dense_kernels(once), strict=True):
        assert len(np.unique(kernel)) <= 8 + 1
        assert not kernel[whole == 0].any()


@given(kernel=kernels, share=st.integers(0, 9).map(lambda tenth: tenth / 10))
def test_pruning_takes_the_smallest_weights_and_no_others(kernel: np.ndarray, share: float) -> None:
    left = pruned(kernel, share)
    gone = left != kernel
    assert ((left == 0) | (left == kernel)).all()
    assert (left == 0).sum() >= round(share * kernel.size)
    if gone.any() and left.any():
        assert np.abs(kernel[gone]).max() <= np.abs(left[left != 0]).min()
    assert np.array_equal(pruned(left, share), left)


@given(kernel=kernels)
def test_two_of_every_four_inputs_of_a_unit_are_zero(kernel: np.ndarray) -> None:
    left = pruned(kernel, 0.5, (2, 4))
    groups = left.reshape(-1, 4, kernel.shape[1])
    assert ((groups == 0).sum(1) >= 2).all()
    kept = np.sort(np.abs(groups), axis=1)[:, 2:]
    assert np.array_equal(kept, np.sort(np.abs(kernel.reshape(-1, 4, 3)), axis=1)[:, 2:])


@pytest.mark.parametrize("storage", STORAGES)
def test_rounded_weights_are_those_nearest_and_rounding_twice_changes_nothing(storage: str) -> None:
    kernel = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    once = rounded(kernel, storage)
    assert np.allclose(rounded(once, storage), once, atol=1e-7)
    assert np.abs(once - kernel).max() < {"int4": 1.5, "int8": 0.02, "float16": 0.002, "float32": 1e-9}[storage]


@pytest.mark.parametrize("storage", ["int8", "int4", "float16"])
def test_gradients_pass_the_rounding_of_a_kernel(storage: str) -> None:
    import tensorflow as tf

    kernel = tf.Variable(np.random.default_rng(1).normal(size=(32, 32)).astype(np.float32))
    with tf.GradientTape() as tape:
        seen = straight_through(kernel, storage)
        total = tf.reduce_sum(seen * 2.0)
    assert not np.array_equal(seen.numpy(), kernel.numpy())
    assert np.array_equal(tape.gradient(total, kernel).numpy(), np.full((32, 32), 2.0))


def test_a_block_of_fake_quantization_ends_with_plain_layers_and_keeps_zeros(make) -> None:
    import tf_keras

    model = make["model"](make["spec"]())
    layer = model.query_encoder.get_layer("query_in")
    layer.kernel.assign(pruned(layer.kernel.numpy(), 0.5))
    zeros = layer.kernel.numpy() == 0
    with fake_quantized(model, Recipe(dense="int4")):
        seen = model.query_encoder.get_layer("query_in")
        seen.kernel.assign_add(np.ones(seen.kernel.shape))
        inputs = np.ones((1, 16), np.float32)
        assert not np.allclose(seen(inputs).numpy(), tf_keras.activations.get(seen.activation)(inputs @ seen.kernel))
    layer = model.query_encoder.get_layer("query_in")
    assert type(layer) is tf_keras.layers.Dense
    assert not layer.kernel.numpy()[zeros].any()
    assert layer.kernel.numpy()[~zeros].all()
