"""The item table: the nearest integers, seen while training as they will ship."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compression.grid import LEVELS, scale_step
from compression.item_table import (
    CLIPPINGS,
    FrozenTable,
    TrainableTable,
    int4_item_scales,
    int4_row_scales,
    quantization_scale,
    quantize,
    store,
)
from compression.recipe import STORAGES

tables = arrays(np.float32, (6, 4), elements=st.floats(-4, 4, width=32))


@given(table=tables, scale=st.floats(0.001, 1.0))
def test_quantizing_takes_the_nearest_point_of_the_grid(table: np.ndarray, scale: float) -> None:
    codes = quantize(table, scale)
    assert codes.dtype == np.int8
    assert np.abs(codes.astype(int)).max() <= LEVELS["int8"]
    inside = np.abs(table) <= LEVELS["int8"] * scale
    assert (np.abs(codes * scale - table)[inside] <= scale / 2 + 1e-6).all()
    assert (np.abs(codes.astype(int)[~inside]) == LEVELS["int8"]).all()
    assert np.array_equal(quantize((codes * np.float32(scale)).astype(np.float32), scale), codes)  # once is enough


@given(table=tables)
def test_the_scale_covers_the_table_and_is_never_zero(table: np.ndarray) -> None:
    scale = quantization_scale(table, coverage=1.0)
    assert scale > 0
    assert np.abs(quantize(table, scale) * scale - table).max() <= scale / 2 + 1e-6


def test_padding_stays_zero() -> None:
    table = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    table[0] = 0
    assert not quantize(table, quantization_scale(table))[0].any()


@given(table=tables)
def test_each_item_s_int4_scale_is_the_best_of_those_that_would_do(table: np.ndarray) -> None:
    scales = int4_row_scales(table).astype(np.float32)
    assert (scales > 0).all()

    def error(row: np.ndarray, scale: float) -> float:
        levels = np.arange(-LEVELS["int4"], LEVELS["int4"] + 1, dtype=np.float32) * np.float32(scale)
        return float(np.square(np.abs(row[:, None] - levels).min(1)).sum())

    for row, scale in zip(table, scales, strict=True):
        others = (np.abs(row).max() * CLIPPINGS / LEVELS["int4"]).astype(np.float16).astype(np.float32)
        others = others[others > 0]
        assert error(row, scale) <= min((error(row, other) for other in others), default=0.0) + 1e-6


@given(table=tables)
def test_int4_scales_are_multiples_of_a_power_of_two_that_a_byte_holds(table: np.ndarray) -> None:
    scales = int4_item_scales(table).astype(np.float32)
    step = scale_step(float(scales.max()))
    assert np.log2(step) == round(np.log2(step))
    assert set(np.unique(scales / step)) <= set(range(1, 128))
    best = int4_row_scales(table).astype(np.float32)
    some = table.any(1)
    assert (np.abs(scales - best)[some] <= step).all()
    if some.any():
        assert np.array_equal(int4_item_scales(table, float(scales.max())), scales.astype(np.float16))


def test_int4_scales_learn_and_are_stored_as_they_were_seen() -> None:
    table = TrainableTable(np.random.default_rng(3).normal(size=(40, 8)), "int4")
    table.start_quantization()
    best = table.seen().numpy()
    table.widening.assign_add(tf.fill(table.widening.shape, 0.7))  # twice too wide

    def error() -> tf.Tensor:
        return tf.reduce_sum(tf.square(table.seen() - table.values))

    far = error()
    for _ in range(200):
        with tf.GradientTape() as tape:
            loss = error()
        table.widening.assign_sub(0.02 * tf.sign(tape.gradient(loss, table.widening)))
    least = np.square(best - table.values.numpy()).sum()
    assert far > 2.0 * least
    assert error() < 1.3 * least
    stored = table.frozen()
    np.testing.assert_allclose(stored.values(), table.seen(), rtol=1e-6)
    assert stored.row_scales is not None
    step = scale_step(float(stored.row_scales.max()))
    assert np.array_equal(stored.row_scales / step, np.rint(stored.row_scales / step))


@given(table=tables, storage=st.sampled_from(STORAGES))
def test_what_is_stored_is_near_and_what_is_stored_again_is_the_same(table: np.ndarray, storage: str) -> None:
    stored = store(table, storage)
    most = np.abs(table).max(1, keepdims=True)
    allowed = {"int4": 0.5, "int8": 1.0, "float16": 1e-3, "float32": 0.0}[storage]  # of the item's largest
    step = stored.row_scales.max() / LEVELS["int8"] if stored.row_scales is not None else 0.0  # of the items' scales
    assert (np.abs(stored.values() - table) <= allowed * most + step * LEVELS["int4"] + 1e-7).all()
    thawed = TrainableTable.thawed(stored)
    for again in (thawed.frozen(), FrozenTable(stored, "shipped").frozen()):
        assert again.storage == storage
        assert np.array_equal(again.codes, stored.codes)
        assert np.array_equal(again.values(), stored.values())


@settings(deadline=None, max_examples=25)
@given(
    table=tables,
    query=arrays(np.float32, (1, 4), elements=st.floats(-2, 2, width=32)),
    storage=st.sampled_from(["int4", "int8", "float32"]),
)
def test_training_sees_the_numbers_that_ship(table: np.ndarray, query: np.ndarray, storage: str) -> None:
    trainable = TrainableTable(table, storage)
    trainable.start_quantization()
    stored = trainable.frozen()
    items = np.array([[0, 3, 5]], np.int32)
    for kept in ("shipped", "float32"):
        frozen = FrozenTable(stored, kept)
        np.testing.assert_allclose(frozen.rows(items).numpy(), trainable.rows(items).numpy(), atol=1e-6)
        np.testing.assert_allclose(frozen.rows(items).numpy(), stored.values()[items], atol=1e-6)
        np.testing.assert_allclose(frozen.score(query).numpy(), trainable.score(query).numpy(), atol=1e-4)


def test_before_quantization_starts_training_sees_the_floats() -> None:
    table = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    trainable = TrainableTable(table)
    assert np.array_equal(trainable.rows(np.array([1, 4], np.int32)).numpy(), table[[1, 4]])


def test_gradients_pass_straight_through_the_rounding() -> None:
    import tensorflow as tf

    trainable = TrainableTable(np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32))
    trainable.start_quantization()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(trainable.rows(tf.constant([2, 2, 4])))
    gradient = tf.convert_to_tensor(tape.gradient(total, trainable.values)).numpy()
    expected = np.zeros((6, 4), np.float32)
    expected[2], expected[4] = 2, 1
    assert np.array_equal(gradient, expected)


@pytest.mark.parametrize("storage", ["int4", "int8"])
def test_what_drifted_beyond_the_grid_is_brought_back(storage: str) -> None:
    values = np.random.default_rng(0).normal(0, 1, (30, 8)).astype(np.float32)
    table = TrainableTable(values, storage)
    table.start_quantization()
    table.values.assign(5.0 * values)
    before, seen = table.frozen(), table.rows(tf.range(30)).numpy()
    table.end_training()
    assert np.array_equal(table.frozen().codes, before.codes)
    half_a_step = np.broadcast_to(table.scale.numpy() / 2, seen.shape)
    assert (np.abs(table.values.numpy() - seen) <= half_a_step + 1e-6).all()


def test_a_table_that_is_not_quantized_keeps_its_values() -> None:
    table = TrainableTable(np.full((3, 2), 9.0, np.float32))
    table.end_training()
    assert (table.values.numpy() == 9.0).all()
