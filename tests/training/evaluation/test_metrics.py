"""Metrics against naive oracles and scikit-learn's."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from training.cases import Cases
from training.evaluation import CUTOFF, MEANS, by_person, evaluate, gains, people, top_items

PEOPLE = 6
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 30)  # items


def random_cases(seed: int, items: int, number: int = 9) -> Cases:
    draw = np.random.default_rng(seed)

    def some(share: float) -> sp.csr_matrix:
        chosen = draw.random((number, items + 1)) < share
        chosen[:, 0] = False
        return sp.csr_matrix(chosen * draw.random(chosen.shape), dtype=np.float32)

    return Cases(
        np.arange(number),
        draw.integers(0, PEOPLE - 1, number),
        some(0.4),
        some(draw.choice([0.1, 0.5, 0.9])),
        0,
        draw.random(items + 1).astype(np.float32),
    )


def random_scores(seed: int, items: int, number: int = 9) -> np.ndarray:
    """All different, so that there is one ranking; padding scores best, to be ignored."""
    draw = np.random.default_rng(seed + 1)
    scores = np.stack([draw.permutation(items + 1) for _ in range(number)]).astype(np.float32) - items / 2
    scores[:, 0] = 1e6
    return scores


def ranked(scores: np.ndarray, hidden: set[int]) -> list[int]:
    return sorted((item for item in range(1, len(scores)) if item not in hidden), key=lambda item: -scores[item])[:10]


def naive(scores: np.ndarray, targets: set[int], hidden: set[int]) -> tuple[float, float, float, float]:
    """NDCG, recall, reciprocal rank and hit rate at 10 of one case, by the book."""
    if not targets:
        return (math.nan,) * 4
    places = [place for place, item in enumerate(ranked(scores, hidden)) if item in targets]
    found = [1 / math.log2(place + 2) for place in places]
    ideal = sum(1 / math.log2(place + 2) for place in range(min(10, len(targets))))
    first = 1 / (places[0] + 1) if places else 0.0
    return sum(found) / ideal, len(found) / len(targets), first, float(bool(places))


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
    ndcg, recall, mrr, hit_rate = gains(np.arange(1, CUTOFF + 1)[None], cases, np.zeros(1, int), new_only=False)[:, 0]
    assert (ndcg, mrr, hit_rate) == pytest.approx((1.0, 1.0, 1.0))
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
        patch.setattr(people, "BATCH", batch)
        found = evaluate(lambda rows: given_out[rows[0] : rows[-1] + 1], cases, PEOPLE, lambda *step: done.append(step))
    assert (given_out == scores).all()  # what a model returns is its own
    assert done[-1] == (len(cases), len(cases))
    assert done == sorted(done)
    assert {total for _, total in done} == {len(cases)}
    for metrics, new_only in ((found.all_items, False), (found.new_items, True)):
        values: dict[str, list[list[float]]] = {name: [[] for _ in range(PEOPLE)] for name in MEANS}
        shown: list[set[int]] = [set() for _ in range(PEOPLE)]
        for row, person in enumerate(cases.person):
            seen = nonzero(cases.weights, row) if new_only else set()
            targets = nonzero(cases.targets, row) - seen
            if targets:
                for name, value in zip(MEANS, naive(scores[row], targets, seen), strict=False):
                    values[name][person].append(value)
                top = ranked(scores[row], seen)
                values["novelty"][person] += [float(cases.information[item]) for item in top]
                shown[person].update(top)
        for name, each in values.items():
            expected = [sum(one) / len(one) if one else math.nan for one in each]
            assert getattr(metrics, name) == pytest.approx(np.array(expected), nan_ok=True)
        assert [nonzero(metrics.shown, person) for person in range(PEOPLE)] == shown
        assert metrics.coverage == pytest.approx(len(set().union(*shown)) / items)
        some = metrics.of(np.array([True, False] * (PEOPLE // 2)))
        assert some.ndcg.tobytes() == metrics.ndcg[::2].tobytes()
        assert some.coverage == pytest.approx(len(set().union(*shown[::2])) / items)


def test_without_popularity_nothing_is_said_of_novelty() -> None:
    cases = replace(random_cases(1, 20), information=None)
    found = evaluate(lambda rows: random_scores(1, 20)[rows], cases, PEOPLE)
    assert np.isnan(found.all_items.novelty).all()


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
