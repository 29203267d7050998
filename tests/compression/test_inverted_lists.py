"""Search inside the graph: its scores are those of an exhaustive scan, and nothing is recommended twice."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from compression.inverted_lists import FrozenCodes
from compression.item_codes import CODEWORDS, StoredCodes, columns_of_books
from contracts.errors import ConfigError

ITEMS, WIDTH, BOOKS, SLOTS, LENGTH, K = 190, 8, 4, 16, 12, 10


def stored_of(seed: int = 0, items: int = ITEMS, books: int = BOOKS) -> StoredCodes:
    rng = np.random.default_rng(seed)
    columns = columns_of_books(books, WIDTH)
    words = rng.normal(0.0, 0.3, (books, CODEWORDS, columns.shape[1])) * (columns < WIDTH)[:, None]
    return StoredCodes(
        codes=rng.integers(0, CODEWORDS, (items + 1, books), dtype=np.uint8),
        books=words.astype(np.float32),
        centres=rng.integers(-127, 128, (-(-(items + 1) // SLOTS), WIDTH)).astype(np.int8),
        scale=0.02,
        slots=SLOTS,
    )


STORED = stored_of()
VALUES = STORED.values()
queries = st.integers(0, 2**31).map(lambda seed: np.random.default_rng(seed).normal(size=(1, WIDTH)).astype(np.float32))
histories = st.lists(st.integers(1, ITEMS), unique=True, max_size=LENGTH)


def padded(history: list[int]) -> np.ndarray:
    return np.array([[0] * (LENGTH - len(history)) + history], np.int32)


@pytest.fixture(scope="module", params=["shipped", "float32"])
def everywhere(request: pytest.FixtureRequest) -> FrozenCodes:
    """Looks into every list."""
    return FrozenCodes(STORED, request.param, 1_000)


@pytest.fixture(scope="module")
def somewhere() -> FrozenCodes:
    return FrozenCodes(STORED, "shipped", 4)


def test_rows_are_what_the_codes_stand_for(everywhere: FrozenCodes) -> None:
    items = np.array([[0, 1, 15, 16], [17, 100, ITEMS - 1, ITEMS]], np.int32)
    np.testing.assert_allclose(everywhere.rows(items).numpy(), VALUES[items], atol=1e-6)
    np.testing.assert_allclose(everywhere.rows(items[0]).numpy(), VALUES[items[0]], atol=1e-6)


@pytest.mark.parametrize("books", range(1, WIDTH + 1))
def test_any_number_of_books_is_looked_up(books: int) -> None:
    stored = stored_of(1, books=books)
    codes, values = FrozenCodes(stored, "shipped"), stored.values()
    items = np.array([[0, 1, 16, ITEMS]], np.int32)
    np.testing.assert_allclose(codes.rows(items).numpy(), values[items], atol=1e-6)
    query = np.random.default_rng(books).normal(size=(1, WIDTH)).astype(np.float32)
    np.testing.assert_allclose(codes.score(query).numpy(), query @ values.T, atol=1e-4)


@settings(max_examples=25)
@given(query=queries)
def test_a_scan_scores_every_item(everywhere: FrozenCodes, query: np.ndarray) -> None:
    scores = everywhere.score(query).numpy()
    assert scores.shape == (1, ITEMS + 1)
    np.testing.assert_allclose(scores, query @ VALUES.T, atol=1e-4)


@settings(max_examples=25)
@given(query=queries)
def test_a_search_looks_into_the_nearest_lists_and_scores_their_items(
    somewhere: FrozenCodes, query: np.ndarray
) -> None:
    found = somewhere.search(query)
    near = np.argsort(-(query @ STORED.centres.T)[0], kind="stable")[:4]
    items, scores, order = (part.numpy() for part in found)
    assert set(items // SLOTS) == set(near)
    assert [int(order[one]) for one in near] == [0, 1, 2, 3]
    assert (np.delete(order, near) == 4).all()
    real = (items > 0) & (items <= ITEMS)
    np.testing.assert_allclose(scores[real], (query @ VALUES[items[real]].T)[0], atol=1e-4)
    assert (scores[~real] < -1e4).all()


@settings(max_examples=50)
@given(query=queries, history=histories, seed=st.integers(0, 100))
def test_every_list_searched_is_an_exhaustive_ranking_with_the_history_s_scores(
    everywhere: FrozenCodes, query: np.ndarray, history: list[int], seed: int
) -> None:
    own = np.random.default_rng(seed).normal(0.0, 3.0, (1, LENGTH)).astype(np.float32)
    items, scores = (part.numpy()[0] for part in everywhere.recommend(query, padded(history), own, K))
    expected = (query @ VALUES.T)[0]
    expected[history] = own[0, LENGTH - len(history) :]
    expected[0] = -np.inf
    np.testing.assert_allclose(scores, np.sort(expected)[::-1][:K], atol=1e-4)
    np.testing.assert_allclose(expected[items], scores, atol=1e-4)
    assert len(set(items)) == K


@settings(max_examples=50)
@given(query=queries, history=histories.filter(bool))
def test_a_history_is_ranked_once_whether_or_not_its_lists_are_looked_into(
    somewhere: FrozenCodes, query: np.ndarray, history: list[int]
) -> None:
    own = np.full((1, LENGTH), 1_000.0, np.float32)
    items = somewhere.recommend(query, padded(history), own, K)[0].numpy()[0]
    kept = history[:K]
    assert set(items[: len(history)]) <= set(history)
    assert len(set(items[: len(history)])) == len(kept)
    assert len(set(items)) == K
    assert 0 not in items
    hidden = somewhere.recommend(query, padded(history), -own, K)[0].numpy()[0]
    assert not set(hidden) & set(history)


@pytest.mark.parametrize("items", [SLOTS * 12 - 1, SLOTS * 12, SLOTS * 11 + 2])
def test_slots_without_an_item_are_never_recommended(items: int) -> None:
    table = FrozenCodes(stored_of(items=items), "shipped", 1_000)
    query = np.zeros((1, WIDTH), np.float32)  # all tie, and an empty slot's score would be as good as any
    answer = table.recommend(query, padded([]), np.zeros((1, LENGTH), np.float32), 150)[0].numpy()[0]
    assert answer.min() >= 1
    assert answer.max() <= items


def test_too_few_lists_for_the_candidates_are_refused() -> None:
    table = FrozenCodes(STORED, "shipped", 1)
    with pytest.raises(ConfigError, match="1 lists of 16 items are searched for 10 candidates"):
        table.recommend(np.zeros((1, WIDTH), np.float32), padded([]), np.zeros((1, LENGTH), np.float32), K)


def test_the_graph_is_of_builtin_operations_and_keeps_the_codes_once_as_bytes(somewhere: FrozenCodes) -> None:
    """In LiteRT it answers as in TensorFlow, and holds no other copy of the codes than its uint8 one."""
    from ai_edge_litert.interpreter import Interpreter

    module = tf.Module()
    module.table = somewhere

    def ranked(query: tf.Tensor, history: tf.Tensor) -> dict[str, tf.Tensor]:
        own = tf.reduce_sum(somewhere.rows(history) * query[:, None], -1)
        items, scores = somewhere.recommend(query, history, own, K)
        return {"best": items, "scores": scores}

    inputs = [tf.TensorSpec((1, WIDTH), tf.float32, name="query"), tf.TensorSpec((1, LENGTH), tf.int32, name="history")]
    module.ranked = tf.function(ranked, input_signature=inputs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.ranked.get_concrete_function()], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    data = converter.convert()
    whole = np.zeros((12 * SLOTS, BOOKS), np.uint8)
    whole[: ITEMS + 1] = STORED.codes
    assert data.count(whole.reshape(12, SLOTS, BOOKS).transpose(0, 2, 1).tobytes()) == 1
    assert len(data) < 30_000  # int32 codes alone would be 3 KB more, and a second copy of the codewords 8 KB
    interpreter = Interpreter(model_content=data, num_threads=1)
    run = interpreter.get_signature_runner()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        query = rng.normal(size=(1, WIDTH)).astype(np.float32)
        history = padded(list(rng.choice(np.arange(1, ITEMS), seed, replace=False)))
        answer, expected = run(query=query, history=history), module.ranked(tf.constant(query), tf.constant(history))
        np.testing.assert_allclose(answer["scores"], expected["scores"].numpy(), atol=1e-4)
        np.testing.assert_array_equal(answer["best"], expected["best"].numpy())
