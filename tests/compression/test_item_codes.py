"""Item codes: the nearest codewords, seen while training as they will ship, and trained jointly."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from compression.item_codes import (
    CODEWORDS,
    REASSIGN_EVERY,
    StoredCodes,
    TrainableCodes,
    columns_of_books,
    decode,
    encode,
    fit_books,
)

ITEMS, WIDTH, BOOKS, SLOTS = 700, 8, 4, 20
ONES = np.ones(WIDTH, np.float32)


def values_of(seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(ITEMS + 1, WIDTH)).astype(np.float32)
    values[0] = 0
    return values


def table_of(seed: int = 0, books: int = BOOKS) -> TrainableCodes:
    return TrainableCodes(values_of(seed), SLOTS, books, ONES, np.ones(ITEMS + 1), seed)


@given(
    seed=st.integers(0, 20),
    number=st.integers(1, WIDTH),
    matters=st.lists(st.floats(0.125, 8, width=32), min_size=WIDTH, max_size=WIDTH),
)
def test_the_nearest_codeword_of_each_book_is_taken(seed: int, number: int, matters: list[float]) -> None:
    rng = np.random.default_rng(seed)
    books = rng.normal(size=(number, CODEWORDS, -(-WIDTH // number))).astype(np.float32)
    residuals, weights = rng.normal(size=(9, WIDTH)).astype(np.float32), np.array(matters, np.float32)
    codes = encode(residuals, books, weights)
    for row, residual in enumerate(residuals):
        for book, dealt in enumerate(columns_of_books(number, WIDTH)):
            columns = dealt[dealt < WIDTH]
            errors = (weights[columns] * (books[book, :, : len(columns)] - residual[columns]) ** 2).sum(1)
            assert errors[codes[row, book]] <= errors.min() + 1e-4


def test_the_last_book_speaks_for_the_last_columns_and_the_others_for_every_so_many() -> None:
    books = np.zeros((3, CODEWORDS, 2), np.float32)
    books[0, 5], books[1, 9], books[2, 7] = (1, 2), (10, 20), (100, 200)
    assert decode(np.array([[5, 9, 7]], np.uint8), books, 6).tolist() == [[1, 10, 2, 20, 100, 200]]


def test_one_book_speaks_for_all_columns() -> None:
    assert columns_of_books(1, 4).tolist() == [[0, 1, 2, 3]]


@given(width=st.integers(1, 70), books=st.integers(1, 70))
def test_every_column_has_one_book_and_books_share_them_evenly(width: int, books: int) -> None:
    books = min(books, width)
    dealt = columns_of_books(books, width)
    assert sorted(dealt[dealt < width].tolist()) == list(range(width))
    assert dealt[-1].tolist() == list(range(width - dealt.shape[1], width))
    spoken_for = (dealt < width).sum(1)
    assert spoken_for.min() >= max(spoken_for.max() - 1, 1)


def test_codewords_themselves_are_coded_without_loss() -> None:
    rng = np.random.default_rng(4)
    books = rng.normal(size=(BOOKS, CODEWORDS, WIDTH // BOOKS)).astype(np.float32)
    codes = rng.integers(0, CODEWORDS, (50, BOOKS), dtype=np.uint8)
    assert np.array_equal(encode(decode(codes, books, WIDTH), books, ONES), codes)


def test_k_means_finds_codewords_that_are_there() -> None:
    rng = np.random.default_rng(4)
    there = rng.normal(size=(30, WIDTH)).astype(np.float32)
    residuals = there[rng.integers(0, 30, 500)]
    books = fit_books(residuals, BOOKS, ONES, np.ones(500), 0)
    assert np.allclose(decode(encode(residuals, books, ONES), books, WIDTH), residuals, atol=1e-5)


def test_items_that_are_asked_for_often_share_their_codewords_with_others() -> None:
    rng = np.random.default_rng(4)
    residuals = rng.normal(size=(CODEWORDS, WIDTH)).astype(np.float32)
    importance = np.ones(CODEWORDS)
    importance[:4] = 1_000.0  # drawn so often that most codewords would start at them
    books = fit_books(residuals, BOOKS, ONES, importance, 0)
    assert np.allclose(decode(encode(residuals, books, ONES), books, WIDTH), residuals, atol=1e-5)


def test_fewer_values_than_codewords_leave_codewords_over() -> None:
    residuals = np.array([[1.0, 0.0], [-1.0, 2.0]], np.float32)
    books = fit_books(residuals, 2, np.ones(2, np.float32), np.ones(2), 0)
    assert np.array_equal(decode(encode(residuals, books, np.ones(2, np.float32)), books, 2), residuals)


def test_what_matters_more_is_coded_better() -> None:
    values, weights = values_of(), ONES.copy()
    weights[0] = 100.0  # it shares its book with column BOOKS
    table = TrainableCodes(values, SLOTS, BOOKS, weights, np.ones(ITEMS + 1), 0)
    error = np.square(table.frozen().values() - values).mean(0)
    assert error[0] < 0.2 * error[BOOKS]


@pytest.mark.parametrize("books", [1, 3, 4, 5, 8])
def test_training_sees_the_numbers_that_ship(books: int) -> None:
    table = table_of(books=books)
    items = np.array([[0, 3, 5], [ITEMS, 40, 41]], np.int32)
    np.testing.assert_array_equal(table.rows(items).numpy(), table.values.numpy()[items])
    table.start_quantization()
    stored = table.frozen()
    np.testing.assert_allclose(table.rows(items).numpy(), stored.values()[items], atol=1e-5)
    query = np.random.default_rng(1).normal(size=(1, WIDTH)).astype(np.float32)
    np.testing.assert_allclose(table.score(query).numpy(), query @ stored.values().T, atol=1e-4)


def test_codes_follow_an_item_that_moves() -> None:
    table = table_of()
    table.start_quantization()
    goal = table.frozen().values()[7]  # of the same list as item 8
    table.values[8].assign(goal)
    table.after_step(REASSIGN_EVERY)
    assert np.allclose(table.frozen().values()[8], goal, atol=1e-5)


def test_gradients_reach_codewords_and_pass_straight_through_to_the_floats() -> None:
    table = table_of()
    table.start_quantization()
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(table.rows(tf.constant([2, 2, 4])))
    floats, words = (tf.convert_to_tensor(each).numpy() for each in tape.gradient(total, table.trained))
    assert {row: floats[row].tolist() for row in np.flatnonzero(floats.any(1))} == {2: [2] * WIDTH, 4: [1] * WIDTH}
    expected = np.zeros_like(words)
    for item in (2, 2, 4):
        expected[np.arange(BOOKS), table.codes.numpy()[item]] += 1
    assert np.array_equal(words, expected)


def test_joint_training_beats_codes_fitted_once() -> None:
    """Towards scores of some queries: the error falls below that of the codes that training started from."""
    table = TrainableCodes(values_of(), SLOTS, 2, ONES, np.ones(ITEMS + 1), 0)
    queries = np.random.default_rng(3).normal(size=(16, WIDTH)).astype(np.float32)
    wanted = queries @ values_of().T
    table.start_quantization()

    def error() -> float:
        return float(np.square(queries @ table.frozen().values().T - wanted).mean())

    before = error()
    optimizer = tf.keras.optimizers.Adam(0.01)
    for step in range(60):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(table.score(queries) - wanted))
        optimizer.apply_gradients(zip(tape.gradient(loss, table.trained), table.trained, strict=True))
        table.after_step(step)
    assert error() < 0.93 * before


def test_a_table_never_seen_through_codes_is_coded_when_frozen() -> None:
    stored = table_of().frozen()
    assert isinstance(stored, StoredCodes)
    assert stored.codes.dtype == np.uint8
    assert np.square(stored.values() - values_of()).mean() == pytest.approx(0.0, abs=0.3)
