"""Labels of new items against a plain reckoning, and where items start from them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.baselines.popularity import purchase_counts
from training.baselines.user_knn import UserKnn
from training.cases import TRAIN, next_basket_cases
from training.new_item_labels import (
    LEAN_POWER,
    LEAN_SMOOTHING,
    NEIGHBOURS,
    POPULARITY_SHARE,
    SHARPNESS,
    TREND_HOURS,
    TREND_POWER,
    TREND_SMOOTHING,
    NewItemLabeller,
    NewItemLabels,
)
from training.spectral_start import NORM, spectral_vectors

ITEMS = 14
few = settings(max_examples=15, deadline=None)


def log_with_kinds(logs, seed: int):
    prepared = logs.prepared(logs.draw(seed), phones=(8,))
    category = ["", *(f"category {number % 3}" for number in range(ITEMS))]
    name = ["", *(f"kind {number % 5}" for number in range(ITEMS))]
    return replace(prepared, items=replace(prepared.items, category=category, name=name))


def lean(groups, counts, bought):
    """The person's share of each item's group against everyone's, smoothed, to LEAN_POWER."""
    found = np.zeros(len(groups))
    for item, group in enumerate(groups):
        members = [other for other, one in enumerate(groups) if one == group]
        usual = counts[members].sum() / counts.sum() + 1e-9
        found[item] = ((bought[members].sum() / max(bought.sum(), 1e-9) + LEAN_SMOOTHING * usual) / usual) ** LEAN_POWER
    return found


@few
@given(st.integers(0, 10**6))
def test_scores_are_votes_times_trend_and_leans(logs, seed: int) -> None:
    prepared = log_with_kinds(logs, seed)
    cases = next_basket_cases(prepared, TRAIN)
    rows = np.arange(min(6, len(cases)))
    counts = purchase_counts(prepared).astype(np.float64)
    central = ~prepared.is_phone[prepared.basket_person] & (prepared.basket_split == TRAIN)
    newest = prepared.basket_hour[central].max()
    recent = np.zeros(ITEMS + 1)
    for basket in np.flatnonzero(central):
        if prepared.basket_hour[basket] > newest - TREND_HOURS:
            lines = slice(prepared.basket_start[basket], prepared.basket_start[basket + 1])
            recent[np.unique(prepared.events.item[lines])] += 1
    usual = (counts + 1) / (counts.sum() + len(counts))
    trend = (TREND_SMOOTHING + recent / recent.sum() / usual) ** TREND_POWER
    kinds = list(zip(prepared.items.category, prepared.items.name, strict=True))
    found = NewItemLabeller(prepared).scores(cases.weights[rows], cases.person[rows])
    votes = UserKnn(prepared, NEIGHBOURS).score(cases, rows)
    for row in rows:
        held = cases.weights[row].toarray()[0]
        bought = np.log1p(held)
        expected = votes[row] / max(votes[row].sum(), 1e-9) + POPULARITY_SHARE * counts / counts.sum()
        expected = expected * trend * lean(prepared.items.category, counts, bought) * lean(kinds, counts, bought)
        expected[held > 0] = 0.0
        expected[0] = 0.0
        assert found[row] == pytest.approx(expected, rel=1e-4, abs=1e-9)


@few
@given(st.integers(0, 10**6))
def test_labels_are_new_items_best_first_and_shares_of_sharpened_scores(logs, seed: int) -> None:
    prepared = log_with_kinds(logs, seed)
    cases = next_basket_cases(prepared, TRAIN)
    labeller = NewItemLabeller(prepared)
    labels, scores = labeller.labels(cases.weights, cases.person), labeller.scores(cases.weights, cases.person)
    sharpened = np.take_along_axis(scores.astype(np.float64), labels.items.astype(np.int64), axis=1) ** SHARPNESS
    total = sharpened.sum(1, keepdims=True)  # 0 where nobody near took anything new: nothing is learned there
    assert labels.share == pytest.approx(sharpened / np.where(total, total, 1.0), rel=1e-4, abs=1e-7)
    assert np.all(np.diff(labels.share, axis=1) <= 0)
    held = np.take_along_axis(cases.weights.toarray(), labels.items.astype(np.int64), axis=1) > 0
    assert not labels.share[held].any()


@given(st.integers(0, 100), st.integers(3, 30))
@few
def test_spectral_vectors_have_the_inner_products_of_the_log_lifts(seed: int, examples: int) -> None:
    """With as many dimensions as items, V V' is the root of M' M up to the one scale."""
    rng = np.random.default_rng(seed)
    items = np.stack([rng.choice(np.arange(1, ITEMS + 1), 5, replace=False) for _ in range(examples)]).astype(np.int32)
    share = rng.dirichlet(np.ones(5), examples).astype(np.float32)
    log_popularity = np.log(rng.dirichlet(np.ones(ITEMS + 1))).astype(np.float32)
    vectors = spectral_vectors(NewItemLabels(items, share), log_popularity, ITEMS + 3, seed).astype(np.float64)
    lift = np.zeros((examples, ITEMS + 1))
    for row in range(examples):
        lift[row, items[row]] = np.maximum(np.log(share[row]) - log_popularity[items[row]], 0.0)
    values, directions = np.linalg.eigh(lift.T @ lift)
    root = directions @ np.diag(np.sqrt(values.clip(0.0))) @ directions.T
    assert np.linalg.norm(vectors, axis=1).mean() == pytest.approx(NORM, rel=1e-4)
    products = vectors @ vectors.T
    assert products / np.trace(products) == pytest.approx(root / np.trace(root), abs=2e-4)


def test_spectral_vectors_of_labels_that_lift_nothing_are_zero() -> None:
    labels = NewItemLabels(np.array([[1, 2]], np.int32), np.array([[0.5, 0.5]], np.float32))
    assert not spectral_vectors(labels, np.zeros(4, np.float32), 3, 0).any()
