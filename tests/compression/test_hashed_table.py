"""The hashed table: popular items keep their vectors, biases are each item's own."""

import numpy as np

from compression.hashed_table import OWN, HashedTable

BUCKETS = 20


def values_of() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(90, 8)).astype(np.float32)


def test_the_first_items_start_exactly_and_all_have_their_own_biases() -> None:
    values = values_of()
    rows = HashedTable(values, BUCKETS).rows(np.arange(90)).numpy()
    np.testing.assert_allclose(rows[:BUCKETS], values[:BUCKETS], atol=1e-5)
    np.testing.assert_allclose(rows[:, -2:], values[:, -2:], atol=1e-6)


def test_an_item_starts_as_the_nearest_multiple_of_its_bucket_s_vector() -> None:
    values = values_of()
    rows = HashedTable(values, BUCKETS).rows(np.arange(90)).numpy()[:, :-2]
    for item in range(BUCKETS, 90):
        error = rows[item] - values[item, :-2]
        assert abs(float(error @ values[item % BUCKETS, :-2])) < 1e-4  # nothing along the bucket's vector is left


def test_what_is_stored_is_what_was_trained_but_for_rounding() -> None:
    table = HashedTable(values_of(), BUCKETS)
    stored, rows = table.frozen(), table.rows(np.arange(90)).numpy()
    assert np.abs(stored.values() - rows).max() < 0.02 * np.abs(rows).max()
    assert stored.nbytes == BUCKETS * 6 + 90 * OWN * 2
    query = np.random.default_rng(1).normal(size=(1, 8)).astype(np.float32)
    np.testing.assert_allclose(table.score(query).numpy(), query @ rows.T, atol=1e-4)
