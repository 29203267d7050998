"""What is said of models is the estimate of each metric, over everybody or one segment."""

import numpy as np
import pytest
import scipy.sparse as sp

from training.evaluation import (
    LEAST_MEASURED,
    MEANS,
    ListMetrics,
    PersonMetrics,
    estimate,
    nothing_shown,
    qualities,
    quality,
    segment_qualities,
)

PEOPLE, ITEMS = 100, 12


def metrics(seed: int) -> PersonMetrics:
    draw = np.random.default_rng(seed)

    def some() -> ListMetrics:
        values = draw.random((len(MEANS), PEOPLE))
        values[:, draw.random(PEOPLE) < 0.2] = np.nan
        chosen = draw.random((PEOPLE, ITEMS + 1)) < 0.02
        chosen[:, 0] = False
        return ListMetrics(*values, sp.csr_matrix(chosen))

    return PersonMetrics(some(), some())


def test_quality_is_the_estimate_of_each_metric() -> None:
    models = {"a": metrics(1), "b": metrics(2)}
    stated = qualities(models, 5)
    assert list(stated) == ["a", "b"]
    for name, found in models.items():
        assert stated[name] == quality(found, 5)
        for task in ("all_items", "new_items"):
            said, lists = getattr(stated[name], task), getattr(found, task)
            for metric in MEANS:
                expected = estimate(getattr(lists, metric), 5)
                got = getattr(said, metric)
                assert (got.value, got.low, got.high) == pytest.approx((expected.value, expected.low, expected.high))
            assert said.coverage == len(set(lists.shown.nonzero()[1])) / ITEMS
    assert stated["a"].ndcg_at_10 == stated["a"].all_items.ndcg
    assert stated["a"].new_items_ndcg_at_10 == stated["a"].new_items.ndcg


def test_a_segment_is_measured_on_its_own_people_if_it_has_enough() -> None:
    models = {"a": metrics(1), "b": metrics(1)}
    codes = np.where(np.arange(PEOPLE) < 60, 1, np.where(np.arange(PEOPLE) < 90, 2, 0))
    one, two = segment_qualities(models, ("many", "few"), codes, 3)
    measured = int((~np.isnan(models["a"].ndcg[:60])).sum())
    assert (one.name, one.people) == ("many", measured)
    assert measured >= LEAST_MEASURED
    assert one.quality is not None
    expected = estimate(models["a"].ndcg[:60], 3)
    assert one.quality["b"].ndcg_at_10.low == pytest.approx(expected.low)
    assert (two.name, two.quality) == ("few", None)
    assert two.people < LEAST_MEASURED


def test_a_task_that_was_not_asked_has_no_figures() -> None:
    none = nothing_shown(PEOPLE, ITEMS)
    assert none.coverage == 0.0
    assert quality(PersonMetrics(none, none), 1).all_items.ndcg.high == 0.0
