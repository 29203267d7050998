"""Metrics against naive oracles and scikit-learn's, intervals against what a paired bootstrap must do."""

import math
import random

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import ndcg_score

from training import evaluation
from training.cases import Cases
from training.evaluation import (
    CUTOFF,
    PersonMetrics,
    by_person,
    estimate,
    evaluate,
    gains,
    quality,
    relative_difference,
    top_items,
)

PEOPLE = 6
TOLERANCE = 0.12  # of an interval's half: 2,000 resamples give its ends a deviation of 3 %
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 30)  # items
per_person = arrays.arrays(
    np.float64, st.integers(1, 12), elements=st.floats(0, 1).map(lambda value: round(value, 3)) | st.just(math.nan)
)


def random_cases(seed: int, items: int, number: int = 9) -> Cases:
    draw = np.random.default_rng(seed)

    def some(share: float) -> sp.csr_matrix:
        chosen = draw.random((number, items + 1)) < share
        chosen[:, 0] = False
        return sp.csr_matrix(chosen * draw.random(chosen.shape), dtype=np.float32)

    return Cases(
        np.arange(number), draw.integers(0, PEOPLE - 1, number), some(0.4), some(draw.choice([0.1, 0.5, 0.9])), 0
    )


def random_scores(seed: int, items: int, number: int = 9) -> np.ndarray:
    """All different, so that there is one ranking; padding scores best, to be ignored."""
    draw = np.random.default_rng(seed + 1)
    scores = np.stack([draw.permutation(items + 1) for _ in range(number)]).astype(np.float32) - items / 2
    scores[:, 0] = 1e6
    return scores


def naive(scores: np.ndarray, targets: set[int], hidden: set[int]) -> tuple[float, float]:
    """NDCG and recall at 10 of one case, by the book."""
    if not targets:
        return math.nan, math.nan
    ranking = sorted((item for item in range(1, len(scores)) if item not in hidden), key=lambda item: -scores[item])
    found = [1 / math.log2(place + 2) for place, item in enumerate(ranking[:10]) if item in targets]
    ideal = sum(1 / math.log2(place + 2) for place in range(min(10, len(targets))))
    return sum(found) / ideal, len(found) / len(targets)


def nonzero(matrix: sp.csr_matrix, row: int) -> set[int]:
    return set(matrix[row].nonzero()[1].tolist())


@given(seeds, sizes)
def test_gains_are_the_naive_ones(seed: int, items: int) -> None:
    cases, scores = random_cases(seed, items), random_scores(seed, items)
    rows = np.random.default_rng(seed).permutation(len(cases))[:5]
    found = gains(top_items(scores[rows]), cases, rows, new_only=False)
    expected = [naive(scores[row], nonzero(cases.targets, row), set()) for row in rows]
    assert pytest.approx(np.array(expected), nan_ok=True) == found.T


@given(seeds, st.integers(10, 30))
def test_ndcg_is_scikit_learns_for_one_list_of_the_whole_catalogue(seed: int, items: int) -> None:
    cases, scores = random_cases(seed, items), random_scores(seed, items)
    found = gains(top_items(scores), cases, np.arange(len(cases)), new_only=False)[0]
    for row, value in enumerate(found):
        relevance = cases.targets[row].toarray()[:, 1:] > 0
        if relevance.any():
            assert value == pytest.approx(ndcg_score(relevance, scores[row : row + 1, 1:], k=10))


@pytest.mark.parametrize("number", [1, 3, 10, 11, 25])
def test_the_ideal_is_reachable_and_no_longer_than_the_list(number: int) -> None:
    """Whoever fills the ten places with targets has an NDCG of 1, however many more there are."""
    targets = sp.csr_matrix(np.array([[0.0] + [1.0] * number + [0.0] * 20]))
    cases = Cases(np.zeros(1, int), np.zeros(1, int), sp.csr_matrix(targets.shape), targets, 0)
    ndcg, recall = gains(np.arange(1, CUTOFF + 1)[None], cases, np.zeros(1, int), new_only=False)[:, 0]
    assert ndcg == pytest.approx(1.0)
    assert recall == pytest.approx(min(number, 10) / number)


@given(seeds, sizes)
def test_top_items_are_the_best_scores_and_never_padding(seed: int, items: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 4, (5, items + 1)).astype(np.float32)  # with ties
    top = top_items(torch.from_numpy(scores))
    assert top.shape == (5, min(CUTOFF, items))
    assert top.min() >= 1
    assert all(len(set(row)) == len(row) for row in top.tolist())
    best = -np.sort(-scores[:, 1:], axis=1)[:, :CUTOFF]
    assert (np.take_along_axis(scores, top, axis=1) == best).all()


@given(seeds, sizes, st.integers(1, 10))
def test_evaluation_is_the_naive_mean_of_means(seed: int, items: int, batch: int) -> None:
    cases, scores = random_cases(seed, items), random_scores(seed, items)
    given_out = scores.copy()
    done: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "BATCH", batch)
        found = evaluate(lambda rows: given_out[rows[0] : rows[-1] + 1], cases, PEOPLE, lambda *step: done.append(step))
    assert (given_out == scores).all()  # what a model returns is its own
    assert sum(step for step, _ in done) == len(cases)
    assert {total for _, total in done} == {len(cases)}
    values: dict[str, list[list[float]]] = {
        name: [[] for _ in range(PEOPLE)] for name in ("ndcg", "recall", "new_ndcg")
    }
    for row, person in enumerate(cases.person):
        targets, seen = nonzero(cases.targets, row), nonzero(cases.weights, row)
        ndcg, recall = naive(scores[row], targets, set())
        new_ndcg, _ = naive(scores[row], targets - seen, seen)
        for name, value in {"ndcg": ndcg, "recall": recall, "new_ndcg": new_ndcg}.items():
            if not math.isnan(value):
                values[name][person].append(value)
    for name, people in values.items():
        expected = [sum(one) / len(one) if one else math.nan for one in people]
        assert getattr(found, name) == pytest.approx(np.array(expected), nan_ok=True)


@given(seeds, sizes)
def test_what_a_model_thinks_of_old_items_does_not_count_for_new_ones(seed: int, items: int) -> None:
    cases, scores = random_cases(seed, items), random_scores(seed, items)
    other = np.where(cases.weights.toarray() > 0, 1e3 + scores, scores)
    assert evaluate(lambda rows: scores[rows], cases, PEOPLE).new_ndcg == pytest.approx(
        evaluate(lambda rows: torch.from_numpy(other[rows]), cases, PEOPLE).new_ndcg, nan_ok=True
    )


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1) | st.just(math.nan))))
def test_people_are_the_mean_of_their_cases_that_count(pairs: list[tuple[int, float]]) -> None:
    person, values = (np.array(column) for column in zip(*pairs, strict=True)) if pairs else (np.zeros(0, int),) * 2
    found = by_person(values.astype(float), person.astype(np.int32), 6)
    for one in range(6):
        mine = [value for each, value in pairs if each == one and not math.isnan(value)]
        assert found[one] == pytest.approx(sum(mine) / len(mine) if mine else math.nan, nan_ok=True)


@settings(max_examples=30)
@given(per_person, seeds)
def test_an_estimate_contains_its_value_within_what_was_seen(values: np.ndarray, seed: int) -> None:
    found = estimate(values, seed)
    assert found == estimate(values, seed)
    seen = values[~np.isnan(values)]
    assert found == estimate(seen, seed)
    if not len(seen):
        assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
        return
    assert found.value == pytest.approx(sum(seen) / len(seen))
    margin = 1e-12
    assert seen.min() - margin <= found.low <= found.value + margin
    assert found.value - margin <= found.high <= seen.max() + margin
    doubled = estimate(2 * values, seed)
    assert (doubled.value, doubled.low, doubled.high) == (2 * found.value, 2 * found.low, 2 * found.high)


def test_another_seed_draws_other_people() -> None:
    values = np.random.default_rng(0).random(50)
    assert estimate(values, 1).value == estimate(values, 2).value
    assert estimate(values, 1).low != estimate(values, 2).low


def test_the_interval_of_many_people_is_the_normal_one() -> None:
    """An independent oracle: the central limit theorem."""
    values = np.random.default_rng(1).random(1000) ** 2
    found = estimate(values, 7)
    error = 1.96 * values.std() / math.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - error, abs=TOLERANCE * error)
    assert found.high == pytest.approx(values.mean() + error, abs=TOLERANCE * error)


def test_a_difference_has_the_interval_of_the_delta_method() -> None:
    """An independent oracle: the ratio's linear approximation, with the covariance of the pairs."""
    draw = np.random.default_rng(2)
    reference = draw.random(1000)
    values = 0.7 * reference + 0.5 * draw.random(1000)
    ratio = values.mean() / reference.mean()
    error = 1.96 * np.std(values - ratio * reference) / reference.mean() / math.sqrt(1000)
    found = relative_difference(values, reference, 7)
    assert found.value == pytest.approx(ratio - 1)
    assert found.low == pytest.approx(ratio - 1 - error, abs=TOLERANCE * error)
    assert found.high == pytest.approx(ratio - 1 + error, abs=TOLERANCE * error)


@settings(max_examples=30)
@given(per_person, seeds)
def test_a_model_does_not_differ_from_itself(values: np.ndarray, seed: int) -> None:
    found = relative_difference(values, values, seed)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


@settings(max_examples=30)
@given(per_person.map(lambda values: values + 0.01), st.floats(0.1, 10), seeds)
def test_people_are_drawn_in_pairs(values: np.ndarray, scale: float, seed: int) -> None:
    """Where one model is the same multiple of the other for everybody, nothing is left to chance."""
    found = relative_difference(scale * values, values, seed)
    expected = 0.0 if np.isnan(values).all() else scale - 1
    assert (found.value, found.low, found.high) == pytest.approx((expected,) * 3, abs=1e-9)


@settings(max_examples=30)
@given(seeds, st.integers(1, 40))
def test_a_difference_is_of_the_people_both_have_and_of_no_unit(seed: int, people: int) -> None:
    draw = np.random.default_rng(seed)
    values, reference = draw.random(people), 0.1 + draw.random(people)
    found = relative_difference(values, reference, seed)
    assert found == relative_difference(values, reference, seed)
    assert found == relative_difference(4 * values, 4 * reference, seed)
    assert found.low - 1e-12 <= found.value <= found.high + 1e-12
    assert found.value == pytest.approx(values.mean() / reference.mean() - 1)
    more = np.concatenate([values, [0.9, math.nan, math.nan]]), np.concatenate([reference, [math.nan, 0.9, math.nan]])
    assert found == relative_difference(*more, seed)


def test_one_person_has_no_spread_and_nobody_has_no_difference() -> None:
    one, nobody = np.array([0.5, math.nan]), np.array([math.nan, 0.4])
    found = relative_difference(one, np.array([0.4, 0.1]), 1)
    assert (found.value, found.low, found.high) == pytest.approx((0.25,) * 3)
    assert estimate(one, 1).low == estimate(one, 1).high == 0.5
    assert relative_difference(one, nobody, 1) == estimate(np.array([]), 1) == estimate(np.array([math.nan]), 1)


def test_quality_is_the_estimate_of_each_metric() -> None:
    draw = random.Random(1)
    metrics = PersonMetrics(*(np.array([draw.random() for _ in range(20)]) for _ in range(3)))
    found = quality(metrics, 5)
    assert found.ndcg_at_10 == estimate(metrics.ndcg, 5)
    assert found.recall_at_10 == estimate(metrics.recall, 5)
    assert found.new_items_ndcg_at_10 == estimate(metrics.new_ndcg, 5)
