"""Small sequences with structure, and a teacher made from them."""

from collections.abc import Callable

import numpy as np
import pytest

from training.private.dp_sgd import DpSgdRecipe
from training.private.examples import next_item_examples
from training.private.fit import PrivateRecipe, Randomness, fit_private_teacher
from training.private.plan import WITHOUT_PRIVACY
from training.private.teacher import PrivateShape, PrivateTeacher
from training.sequence.sequences import Sequences

LENGTH = 8


@pytest.fixture(scope="session")
def make_sequences() -> Callable[..., Sequences]:
    """People who walk round a ring of items, each from a place of their own."""

    def make(people: int = 60, items: int = 20, events: int = 12, seed: int = 0) -> Sequences:
        first = np.random.default_rng(seed).integers(0, items, people)
        item = (first[:, None] + np.arange(events)) % items + 1
        return Sequences(item.ravel().astype(np.int32), np.arange(people + 1) * events, items)

    return make


@pytest.fixture(scope="session")
def small_recipe() -> PrivateRecipe:
    shape = PrivateShape(width=4, recent=4, neighbours=8)
    return PrivateRecipe(shape, DpSgdRecipe(sampling_rate=0.5, steps=4))


@pytest.fixture
def teacher(make_sequences: Callable[..., Sequences], small_recipe: PrivateRecipe) -> PrivateTeacher:
    """Without noise: of synthetic people."""
    sequences = make_sequences()
    return fit_private_teacher(
        sequences,
        next_item_examples(sequences, LENGTH, 6),
        WITHOUT_PRIVACY,
        small_recipe,
        lambda *_: None,
        0,
        lambda *_: None,
        Randomness(coins=np.random.default_rng(0).random),
    )
