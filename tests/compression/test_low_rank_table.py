"""The low-rank table: the best of its rank to begin with, and what is stored is what was trained."""

import numpy as np
import pytest

from compression.low_rank_table import LowRankTable

WEIGHTS = np.array([1, 1, 1, 1, 9, 4], np.float32)


def values_of(rank: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(50, rank)) @ rng.normal(size=(rank, 6))).astype(np.float32)


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_a_table_of_that_rank_is_kept_but_for_int8(rank: int) -> None:
    values = values_of(rank)
    table = LowRankTable(values, rank, WEIGHTS)
    np.testing.assert_allclose(table.rows(np.arange(50)).numpy(), values, atol=1e-4)
    assert np.abs(table.frozen().values() - values).max() < 0.05 * np.abs(values).max()


def test_no_other_table_of_the_rank_is_nearer() -> None:
    values = values_of(6)
    scaled = values * np.sqrt(WEIGHTS)
    strengths = np.linalg.svd(scaled, compute_uv=False)
    found = LowRankTable(values, 2, WEIGHTS).rows(np.arange(50)).numpy()
    error = np.square((found - values) * np.sqrt(WEIGHTS)).sum()
    assert error == pytest.approx(np.square(strengths[2:]).sum(), rel=1e-3)


def test_scores_are_products_with_rows_and_bytes_are_counted() -> None:
    table = LowRankTable(values_of(6), 3, WEIGHTS)
    query = np.random.default_rng(1).normal(size=(1, 6)).astype(np.float32)
    rows = table.rows(np.arange(50)).numpy()
    np.testing.assert_allclose(table.score(query).numpy(), query @ rows.T, atol=1e-4)
    assert table.rows(np.array([[1, 2], [3, 4]])).shape == (2, 2, 6)
    assert table.frozen().nbytes == 50 * 3 + 3 * 6 * 4
