"""Rows of new items: ridge regression's, whatever else is known, and never another's own."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import OneHotEncoder

from training.cold_items import RIDGE, AttributeEffects, fit_effects, grown_rows, match_items
from training.prepared import Items


def drawn(seed: int, known: int = 60) -> tuple[list[list[str]], np.ndarray]:
    draw = random.Random(seed)
    attributes = [[f"{name}{draw.randrange(many)}" for _ in range(known)] for name, many in (("a", 5), ("b", 9))]
    return attributes, np.random.default_rng(seed).normal(size=(known, 4))


@given(st.integers(0, 10**6), st.sampled_from([0.5, 8.0, 64.0]))
def test_it_is_ridge_regression(seed: int, ridge: float) -> None:
    attributes, rows = drawn(seed)
    asked = [["a0", "a1", "never seen"], ["b1", "never seen", "never seen"]]
    encoder = OneHotEncoder(handle_unknown="ignore").fit(np.array(attributes).T)
    held, wanted = (encoder.transform(np.array(each).T).toarray() for each in (attributes, asked))
    effects = np.linalg.solve(held.T @ held + ridge * np.eye(held.shape[1]), held.T @ (rows - rows.mean(0)))
    expected = rows.mean(0) + wanted @ effects
    found = fit_effects(rows, attributes, ridge).rows(asked)
    assert found == pytest.approx(expected, abs=1e-5)
    assert found[2] == pytest.approx(rows.mean(0), abs=1e-6)  # of whom nothing is known


def test_a_value_says_the_more_the_more_items_share_it() -> None:
    values = ["rare"] + ["common"] * 20 + ["other"] * 21
    rows = np.where(np.array(values) == "other", -1.0, 1.0)[:, None]
    effects = fit_effects(rows, [values])
    gains = [float(effects.rows([[name]])[0, 0] - rows.mean()) for name in ("rare", "common")]
    own = 1.0 - rows.mean()
    assert gains == pytest.approx([own / (1 + RIDGE), own * 20 / (20 + RIDGE)], abs=1e-5)


def catalogue(number: int, seed: int = 0) -> Items:
    draw = random.Random(seed)
    kinds = [["", *(f"{name}{draw.randrange(3)}" for _ in range(number))] for name in "cdbn"]
    return Items(
        item_id=["", *(f"i{item}" for item in range(1, number + 1))],
        category=kinds[0],
        department=kinds[1],
        brand=kinds[2],
        name=kinds[3],
        price_minor=np.array([0, *(draw.randrange(300) for _ in range(number))]),
        people=np.zeros(number + 1, np.int32),
    )


@given(st.integers(0, 10**6), st.integers(1, 40))
def test_known_items_keep_their_rows_and_new_ones_are_not_padding(seed: int, kept: int) -> None:
    items = catalogue(40, seed)
    order = random.Random(seed).sample(items.item_id[1:], kept)
    known = match_items(["", *order], items.item_id)
    rows = np.random.default_rng(seed).normal(1.0, 0.1, (kept + 1, 5)).astype(np.float32)
    rows[0] = 0.0
    grown = grown_rows(rows, known, items)
    assert grown.dtype == np.float32
    for index, item in enumerate(items.item_id):
        if item in order:
            assert (grown[index] == rows[1 + order.index(item)]).all()
    assert not grown[0].any()
    assert (grown[1:] > 0.3).all()
    assert (grown == grown_rows(rows, known, items)).all()  # bit for bit


def test_a_new_item_is_like_its_category() -> None:
    items = catalogue(40, 3)
    known = np.arange(41)
    known[31:] = 0
    rows = np.array([[float(each == name) for name in ("c0", "c1", "c2")] for each in items.category])[:31]
    grown = grown_rows(rows, known, items)
    assert [f"c{best}" for best in grown[31:].argmax(1)] == items.category[31:]


def test_columns_of_nothing_stay_nothing() -> None:
    attributes, rows = drawn(1)
    rows[:, 2] = 0.0
    effects = fit_effects(rows, attributes)
    assert isinstance(effects, AttributeEffects)
    assert not effects.effects[:, 2].any()
    assert np.isfinite(effects.effects).all()


def test_what_attributes_say_nothing_of_is_the_mean() -> None:
    items = catalogue(40, 5)
    known = np.arange(41)
    known[31:] = 0
    rows = np.random.default_rng(1).normal(size=(31, 4))
    plain, without = grown_rows(rows, known, items), grown_rows(rows, known, items, unforeseen=(-2,))
    assert without[31:, -2] == pytest.approx(np.full(10, rows[1:, -2].mean()), abs=1e-6)
    assert (np.abs(plain[31:, -2] - rows[1:, -2].mean()) > 1e-3).any()
    assert (np.delete(plain, -2, 1) == np.delete(without, -2, 1)).all()
