"""What parity calls the same, an overlap and an error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.parity import TIE, Fp32Parity, measure_parity, same_top, score_error, top_overlap
from export.runtimes import ModuleEvaluator

SIZE, KEPT, TOP = 30, 20, 10


def ranked(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(-scores, kind="stable")[:KEPT]
    return order.astype(np.int32), scores[order]


# Steps of one hundredth with many ties: far above TIE where two differ at all.
tied_scores = st.lists(st.integers(0, 12), min_size=SIZE, max_size=SIZE).map(lambda steps: np.array(steps) / 100)
rounding = st.lists(st.floats(-0.49, 0.49), min_size=SIZE, max_size=SIZE).map(lambda noise: np.array(noise) * TIE)


@given(scores=tied_scores, noise=rounding, order=st.permutations(range(SIZE)))
def test_rounding_and_another_order_of_ties_change_nothing(scores, noise, order) -> None:
    moved = np.array(order)
    items, values = ranked((scores + noise)[moved])
    other = moved[items].astype(np.int32), values
    assert same_top(ranked(scores), other)
    assert same_top(other, ranked(scores))
    assert top_overlap(other, ranked(scores)) == 1.0


@given(scores=tied_scores, place=st.integers(0, TOP - 1), off=st.floats(2 * TIE, 5.0), up=st.booleans())
def test_one_score_of_the_top_that_is_off_is_seen(scores, place, off, up) -> None:
    expected = ranked(scores)
    wrong = expected[1].copy()
    wrong[place] += off if up else -off
    assert not same_top((expected[0], wrong), expected)
    assert score_error((expected[0], wrong), expected) == pytest.approx(off)


@given(scores=st.permutations(range(SIZE)), lost=st.integers(0, TOP))
def test_overlap_counts_what_the_reference_has_too(scores, lost) -> None:
    expected = ranked(np.array(scores, float))
    found = expected[0].copy(), expected[1].copy()
    found[0][:lost] = np.arange(1000, 1000 + lost)
    assert top_overlap(found, expected) == pytest.approx((TOP - lost) / TOP)


def test_what_is_not_finite_or_shares_nothing_is_no_agreement() -> None:
    one = np.array([1, 2]), np.array([1.0, np.nan])
    two = np.array([1, 2]), np.array([1.0, 0.5])
    assert score_error(one, two) == np.inf
    assert not same_top(one, two)
    assert score_error((np.array([3]), np.array([1.0])), two) == np.inf


def test_a_model_agrees_with_itself_and_not_with_another(model, feeds, tiny) -> None:
    other = tiny.tiny_model()
    other.adapter["popularity"].assign([-1.0])
    done: list[int] = []
    found = measure_parity(
        model, feeds, {"itself": ModuleEvaluator(model), "other": ModuleEvaluator(other)}, {}, done.append
    )
    assert found.histories == len(feeds) == done[-1]
    assert found.fp32["itself"] == Fp32Parity(1.0, 0.0)
    assert found.fp32["other"].same_top_10 < 0.5
    assert found.shipped == {}
