"""The gate: a continued teacher is refused where the newest week shows it to be worse, and only there."""

from dataclasses import replace

import numpy as np
import pytest

from contracts.errors import DataError
from training.evaluation import PersonMetrics, nothing_shown
from training.gate import judge, newest_week
from training.split import WEEK_MS

PEOPLE = 400
DAY_MS = WEEK_MS // 7


def metrics(ndcg: np.ndarray, new: np.ndarray) -> PersonMetrics:
    return PersonMetrics(*(replace(nothing_shown(len(values), 1), ndcg=values) for values in (ndcg, new)))


@pytest.mark.parametrize(
    ("shift", "new_shift", "accepted"),
    [(0.0, 0.0, True), (0.02, 0.0, True), (-0.02, 0.0, False), (0.02, -0.02, False), (-0.0005, 0.0, True)],
)
def test_only_what_is_shown_to_be_worse_is_refused(shift, new_shift, accepted):
    draw = np.random.default_rng(0)
    old, noise = draw.uniform(0.1, 0.5, PEOPLE), draw.normal(0, 0.05, PEOPLE)
    old_new = draw.uniform(0.1, 0.5, PEOPLE)
    noise -= noise.mean()
    decision = judge(metrics(old + shift + noise, old_new + new_shift + noise), metrics(old, old_new), 5, 0)
    assert decision.accepted is accepted
    assert decision.all_items.value == pytest.approx(shift / old.mean())
    assert decision.all_items.low <= decision.all_items.value <= decision.all_items.high
    assert f"{shift / old.mean():+.1%} [" in decision.reason
    assert decision.people == PEOPLE


def test_only_people_whom_both_measured_count():
    draw = np.random.default_rng(0)
    old, new = draw.uniform(0.1, 0.5, PEOPLE), draw.uniform(0.1, 0.5, PEOPLE)
    old[:100], new[50:150] = np.nan, np.nan
    few = judge(metrics(new, new), metrics(old, old), 0, 0)
    both = slice(150, None)
    assert few == judge(metrics(new[both], new[both]), metrics(old[both], old[both]), 0, 0)
    assert few.people == PEOPLE - 150


def test_the_newest_week_is_the_last_seven_days(logs):
    last = [logs.basket(person, logs.end_ms - day * DAY_MS - 1, [1, 2]) for person in (0, 1) for day in (0, 6, 7, 8)]
    prepared = logs.prepared([*logs.draw(3), *last], phones=(4,))
    cases = newest_week(prepared)
    begin = logs.end_ms - WEEK_MS
    assert (prepared.basket_time_ms[cases.baskets] >= begin).all()
    expected = [
        basket
        for basket in range(len(prepared.basket_person))
        if prepared.basket_time_ms[basket] >= begin
        and prepared.basket_person[basket] != 4
        and prepared.basket_time_ms[prepared.person_start[prepared.basket_person[basket]]]
        < prepared.basket_time_ms[basket]
    ]
    assert list(cases.baskets) == expected
    assert cases.weights.shape[0] == cases.targets.shape[0] == len(cases.person) == len(expected)


def test_a_week_of_nobody_is_refused(logs):
    quiet = [basket for basket in logs.draw(3) if basket.time_ms < logs.end_ms - WEEK_MS]
    with pytest.raises(DataError, match="newest week has baskets of 0 people"):
        newest_week(logs.prepared(quiet))
