"""Each baseline against its formula written with loops or dense matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.summary import HALF_LIFE_HOURS, HOUR_MS
from training.baselines import FrequencyUserKnn, ItemKnn, PersonalFrequency, Popularity, SequenceRules, UserKnn
from training.baselines import item_knn as item_knn_module
from training.baselines.frequency_user_knn import NEIGHBOUR_SHARE
from training.baselines.sequence_rules import GAPS
from training.cases import TEST, next_basket_cases

PHONES = (2, 5)
ITEMS, PEOPLE = 14, 9
seeds = st.integers(0, 10**6)
few = settings(max_examples=20)


def task(logs, seed: int):
    """Baskets in order, the log, the test cases, and all their rows."""
    baskets = logs.ordered(logs.draw(seed, PEOPLE, ITEMS))
    prepared = logs.prepared(baskets, phones=PHONES)
    cases = next_basket_cases(prepared, TEST)
    return baskets, prepared, cases, np.arange(len(cases))


def central_training(logs, baskets):
    return [one for one in baskets if one.person not in PHONES and one.time_ms < logs.train_end_ms]


def items_of(basket) -> list[int]:
    return [item for item, _ in basket.lines]


def damped_counts(logs, baskets) -> np.ndarray:
    """float64 [people, items + 1]: log(1 + fading count) of the training weeks."""
    training = central_training(logs, baskets)
    last = max(one.time_ms // HOUR_MS for one in training)
    counts = np.zeros((PEOPLE, ITEMS + 1))
    for one in training:
        for item in items_of(one):
            counts[one.person, item] += 0.5 ** ((last - one.time_ms // HOUR_MS) / HALF_LIFE_HOURS)
    return np.log1p(counts)


def unit_rows(matrix: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.divide(matrix, norms, out=np.zeros_like(matrix), where=norms > 0)


def keep_largest(values: np.ndarray, number: int) -> np.ndarray:
    """Each row with everything but its largest values set to 0."""
    kept = np.zeros_like(values)
    for row, one in enumerate(values):
        best = np.argsort(-one)[:number]
        kept[row, best] = one[best]
    return kept


@few
@given(seeds)
def test_popularity_is_the_number_of_training_baskets(logs, seed: int) -> None:
    baskets, prepared, cases, rows = task(logs, seed)
    training = central_training(logs, baskets)
    counts = [sum(item in items_of(one) for one in training) for item in range(ITEMS + 1)]
    assert Popularity(prepared).score(cases, rows).tolist() == [counts] * len(rows)


@few
@given(seeds)
def test_personal_frequency_is_the_order_of_fading_counts_then_popularity(logs, seed: int) -> None:
    _, prepared, cases, rows = task(logs, seed)
    scores, popular = PersonalFrequency(prepared).score(cases, rows), Popularity(prepared).score(cases, rows)
    counts = cases.weights.toarray()
    for row in rows:
        for one in range(1, ITEMS + 1):
            for other in range(1, ITEMS + 1):
                if counts[row, one] > counts[row, other] + 2e-6:  # the share that popularity has
                    assert scores[row, one] > scores[row, other]
                if counts[row, one] == counts[row, other] == 0:
                    assert (scores[row, one] > scores[row, other]) == (popular[row, one] > popular[row, other])


@few
@given(seeds)
def test_item_knn_is_the_dense_cosine(logs, seed: int) -> None:
    baskets, prepared, cases, rows = task(logs, seed)
    unit = unit_rows(damped_counts(logs, baskets).T)
    similar = unit @ unit.T
    np.fill_diagonal(similar, 0.0)
    expected = np.log1p(cases.weights.toarray()) @ similar
    assert ItemKnn(prepared).score(cases, rows) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_knn_module, "CHUNK", 4)
        patch.setattr(item_knn_module, "NEIGHBOURS", 3)
        found = ItemKnn(prepared)._similar.toarray()
    assert (np.count_nonzero(found, axis=1) <= 3).all()
    largest = -np.sort(-similar, axis=1)[:, :3]  # ties may fall either way, their values may not
    assert -np.sort(-found, axis=1)[:, :3] == pytest.approx(largest, rel=1e-4, abs=1e-6)
    assert found[found > 0] == pytest.approx(similar[found > 0], rel=1e-4)


@few
@given(seeds, st.sampled_from([3, 70]))
def test_user_knn_is_the_dense_cosine_of_other_people(logs, seed: int, neighbours: int) -> None:
    baskets, prepared, cases, rows = task(logs, seed)
    damped = damped_counts(logs, baskets)
    active = (damped.sum(1) > 0).sum()
    rarity = np.log(active / (1.0 + (damped > 0).sum(0))).clip(0.0)
    cosine = unit_rows(np.log1p(cases.weights.toarray()) * rarity) @ unit_rows(damped * rarity).T
    for row in rows:
        cosine[row, cases.person[row]] = 0.0
    votes = keep_largest(cosine, neighbours) ** 2
    votes = np.divide(
        votes, votes.sum(1, keepdims=True), out=np.zeros_like(votes), where=votes.sum(1, keepdims=True) > 0
    )
    baseline = UserKnn(prepared, neighbours)
    assert baseline.votes(cases, rows) == pytest.approx(votes, rel=1e-3, abs=1e-6)
    assert baseline.score(cases, rows) == pytest.approx(votes @ damped, rel=1e-3, abs=1e-6)


@few
@given(seeds)
def test_nobody_is_their_own_neighbour_and_no_phone_is_anybodys(logs, seed: int) -> None:
    _, prepared, cases, rows = task(logs, seed)
    votes = UserKnn(prepared).votes(cases, rows)
    assert not votes[rows, cases.person].any()
    assert not votes[:, PHONES].any()
    assert votes.any()


@few
@given(seeds)
def test_frequency_user_knn_is_the_sum_of_its_parts(logs, seed: int) -> None:
    _, prepared, cases, rows = task(logs, seed)
    expected = cases.weights.toarray() + NEIGHBOUR_SHARE * UserKnn(prepared).score(cases, rows)
    assert FrequencyUserKnn(prepared).score(cases, rows) == pytest.approx(expected)


@few
@given(seeds)
def test_sequence_rules_are_the_naive_loop(logs, seed: int) -> None:
    baskets, prepared, cases, rows = task(logs, seed)
    training = central_training(logs, baskets)
    rules = np.zeros((ITEMS + 1, ITEMS + 1))
    for person in range(PEOPLE):
        mine = [one for one in training if one.person == person]
        for at, earlier in enumerate(mine):
            for gap, later in enumerate(mine[at + 1 : at + 1 + GAPS], start=1):
                for one in items_of(earlier):
                    for other in items_of(later):
                        rules[one, other] += 1.0 / gap
    for item in range(ITEMS + 1):
        rules[item] /= max(sum(item in items_of(one) for one in training), 1)
    expected = np.zeros((len(rows), ITEMS + 1))
    for row in rows:
        number = cases.baskets[row]
        for gap in range(1, GAPS + 1):
            before = baskets[number - gap] if number >= gap else None
            if before and before.person == cases.person[row] and before.time_ms < baskets[number].time_ms:
                for item in items_of(before):
                    expected[row] += rules[item] / gap
    assert SequenceRules(prepared).score(cases, rows) == pytest.approx(expected, rel=1e-4, abs=1e-6)
