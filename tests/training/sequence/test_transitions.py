import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.sequence.test_sequences import make
from training.sequence.rules import GAPS
from training.sequence.transformer import NextItemTransformer, TransformerShape
from training.sequence.transitions import FLOOR, NextItemTeacher, Transitions

ITEMS = 9  # of what `make` makes
items = st.integers(1, ITEMS)
people = st.lists(st.lists(items, min_size=1, max_size=8), min_size=1, max_size=5)
histories = st.lists(items, max_size=8)


def reckoned(log: list[list[int]], history: list[int], target: int) -> float:
    """The share by its words, one pair at a time."""

    def after(item: int, wanted: int | None) -> float:
        return sum(
            1 / gap
            for taken in log
            for place, one in enumerate(taken)
            for gap in range(1, GAPS + 1)
            if one == item and place + gap < len(taken) and wanted in (None, taken[place + gap])
        )

    asked = [(1 / gap, item) for gap, item in enumerate(reversed(history[-GAPS:]), start=1)]
    total = sum(weight for weight, _ in asked)
    return sum(weight / total * after(item, target) / after(item, None) for weight, item in asked if after(item, None))


def padded(history: list[int], length: int = 8) -> np.ndarray:
    recent = np.zeros((1, length), np.int32)
    recent[0, length - len(history) :] = history
    return recent


@given(people, histories)
def test_shares_are_what_their_words_say(log: list[list[int]], history: list[int]) -> None:
    shares = np.exp(Transitions.of(make(log)).log_shares(padded(history)).numpy()[0]) - FLOOR
    wanted = [0.0, *(reckoned(log, history, target) for target in range(1, ITEMS + 1))]
    np.testing.assert_allclose(shares, wanted, atol=1e-5)


@given(people, st.integers(1, 4))
def test_the_strongest_are_the_largest_shares(log: list[list[int]], most: int) -> None:
    transitions = Transitions.of(make(log))
    after, shares = transitions.strongest(most)
    whole = transitions.shares.toarray()
    for item in range(ITEMS + 1):
        np.testing.assert_allclose(shares[item], np.sort(whole[item])[::-1][:most])
        assert [whole[item, other] for other in after[item] if other] == [share for share in shares[item] if share]


def test_a_teacher_hears_as_much_of_them_as_it_heeds() -> None:
    transitions = Transitions.of(make([[1, 2, 3], [1, 2, 4]]))
    transformer = NextItemTransformer(TransformerShape(width=8, blocks=1, heads=2, length=8), ITEMS)
    recent = padded([1, 2])
    alone = transformer.scores(recent)
    assert NextItemTeacher(transformer, transitions, 0.0).scores(recent).equal(alone)
    added = NextItemTeacher(transformer, transitions, 0.5).scores(recent) - alone
    np.testing.assert_allclose(added, 0.5 * transitions.log_shares(recent), atol=1e-5)
    assert added[0, 3] == pytest.approx(float(added[0, 4]))
    assert added[0, 3] > added[0, 5]
