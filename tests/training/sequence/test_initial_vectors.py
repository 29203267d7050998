import numpy as np
import pytest

from tests.training.sequence.test_sequences import make
from training.sequence.initial_vectors import initial_vectors, new_transformer
from training.sequence.transformer import INITIAL_DEVIATION, TransformerShape

SHAPE = TransformerShape(width=16, blocks=1, heads=2, length=8)
TWO_WORLDS = make(
    [[1, 3, 2, 4, 1, 2], [4, 2, 3, 1, 3, 4], [5, 7, 6, 8, 5, 6], [8, 6, 7, 5, 7, 8]] * 5
)  # 1 to 4 are taken together, and 5 to 8; nobody takes 9


def test_items_taken_together_start_near_each_other():
    vectors = initial_vectors(TWO_WORLDS, 2, 0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    alike = vectors[1:9] @ vectors[1:9].T
    same = np.arange(8)[:, None] // 4 == np.arange(8) // 4
    assert alike[same].min() > alike[~same].max()


def test_vectors_have_the_deviation_of_a_random_start_and_padding_has_none():
    vectors = initial_vectors(TWO_WORLDS, 4, 0)
    assert vectors.shape == (10, 4)
    assert vectors.dtype == np.float32
    assert vectors.std() == pytest.approx(INITIAL_DEVIATION, rel=1e-3)
    assert np.abs(vectors[0]).max() < 1e-6


def test_a_catalogue_smaller_than_the_width_fills_the_first_columns():
    assert initial_vectors(TWO_WORLDS, 16, 0).shape[1] < 16
    model = new_transformer(SHAPE, TWO_WORLDS, 0)
    assert model.table.weight.shape == (10, 16)
    assert model.table.weight.detach()[:, -1].abs().max() > 0  # random, as it was


def test_people_who_took_one_item_say_nothing():
    vectors = initial_vectors(make([[1], [2], [3]]), 4, 0)
    assert vectors.shape == (10, 0)


def test_the_seed_decides():
    first, second = (new_transformer(SHAPE, TWO_WORLDS, seed).table.weight for seed in (1, 1))
    assert first.equal(second)
    assert not first.equal(new_transformer(SHAPE, TWO_WORLDS, 2).table.weight)
