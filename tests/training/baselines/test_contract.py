"""What every baseline must do, whichever way it scores."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.baselines import BASELINES, Baseline
from training.cases import TEST, VALIDATION, next_basket_cases

PHONES = (2, 5)
REPORTED = ["frequency_user_knn", "item_knn", "personal_frequency", "popularity", "sequence_rules", "user_knn"]
names = pytest.mark.parametrize("name", REPORTED)
seeds = st.integers(0, 10**6)
few = settings(max_examples=15)


def test_every_baseline_of_the_report_is_registered_by_its_name() -> None:
    assert sorted(BASELINES) == REPORTED
    assert all(kind.name == name for name, kind in BASELINES.items())


def test_two_baselines_of_one_name_are_refused() -> None:
    before = dict(BASELINES)
    with pytest.raises(TypeError, match=r"two baselines are named 'popularity': training.baselines.popularity, .*"):
        type("Other", (Baseline,), {"name": "popularity"})
    assert before == BASELINES


@names
@few
@given(seeds, st.sampled_from([VALIDATION, TEST]))
def test_scores_are_finite_repeatable_and_each_row_its_own(logs, name: str, seed: int, split: int) -> None:
    prepared = logs.prepared(logs.draw(seed), phones=PHONES)
    cases = next_basket_cases(prepared, split)
    baseline = BASELINES[name](prepared)
    rows = np.arange(len(cases))
    scores = baseline.score(cases, rows)
    assert scores.shape == (len(cases), 15)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert (scores[:, 1:] >= 0).all()
    assert BASELINES[name](prepared).score(cases, rows).tobytes() == scores.tobytes()
    some = np.random.default_rng(seed).permutation(rows)[:3]
    assert baseline.score(cases, some) == pytest.approx(scores[some], rel=1e-5, abs=1e-9)


@names
@few
@given(seeds, st.sampled_from([VALIDATION, TEST]))
def test_phones_the_basket_itself_and_what_came_later_change_no_score(logs, name: str, seed: int, split: int) -> None:
    """Others' events count up to the end of training, the person's own up to the basket, phones' never."""
    draw = random.Random(seed)
    baskets = logs.ordered(logs.draw(seed))
    prepared = logs.prepared(baskets, phones=PHONES)
    cases = next_basket_cases(prepared, split)
    row = np.array([draw.randrange(len(cases))])
    case = baskets[cases.baskets[row[0]]]

    def hidden(one) -> bool:
        limit = case.time_ms if one.person == case.person else logs.train_end_ms
        return one.person in PHONES or one.time_ms >= limit

    other = logs.prepared([logs.change(one, draw) if hidden(one) else one for one in baskets], phones=PHONES)
    assert BASELINES[name](other).score(cases, row).tobytes() == BASELINES[name](prepared).score(cases, row).tobytes()


@names
def test_what_central_people_did_in_the_training_weeks_does_count(logs, name: str) -> None:
    """Else the property above would hold of a baseline that reads nothing."""
    draw = random.Random(1)
    baskets = logs.ordered(logs.draw(1))
    prepared = logs.prepared(baskets, phones=PHONES)
    cases = next_basket_cases(prepared, TEST)
    changed = [logs.change(one, draw) if one.time_ms < logs.train_end_ms else one for one in baskets]
    rows = np.arange(len(cases))
    other = BASELINES[name](logs.prepared(changed, phones=PHONES))
    assert (other.score(cases, rows) != BASELINES[name](prepared).score(cases, rows)).any()


@names
def test_one_person_and_one_item_are_enough(logs, name: str) -> None:
    times = (logs.start_ms, logs.start_ms + 1, logs.validation_end_ms)
    prepared = logs.prepared([logs.basket(0, time_ms, [1]) for time_ms in times], items=1)
    cases = next_basket_cases(prepared, TEST)
    scores = BASELINES[name](prepared).score(cases, np.arange(1))
    assert scores.shape == (1, 2)
    assert np.isfinite(scores).all()
