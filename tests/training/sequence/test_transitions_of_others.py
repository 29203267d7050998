import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.training.sequence.test_sequences import make
from training.sequence.rules import GAPS, follow_counts
from training.sequence.transitions import FLOOR
from training.sequence.transitions_of_others import TransitionsOfOthers

ITEMS = 9  # of what `make` makes
people = st.lists(st.lists(st.integers(1, ITEMS), min_size=1, max_size=8), min_size=1, max_size=5)


def reckoned(log: list[list[int]], person: int, place: int) -> np.ndarray:
    """Shares by their words: for each place asked, the counts of all but that place."""
    taken = log[person]
    found, total = np.zeros(ITEMS + 1), 0.0
    for gap in range(1, min(GAPS, place + 1) + 1):
        asked = place - gap + 1
        counts = np.zeros(ITEMS + 1)
        for other, items in enumerate(log):
            for at, item in enumerate(items):
                if item == taken[asked] and (other, at) != (person, asked):
                    for after in range(1, GAPS + 1):
                        if at + after < len(items):
                            counts[items[at + after]] += 1 / after
        total += 1 / gap
        if counts.sum():
            found += counts / counts.sum() / gap
    return found / total


@given(people)
def test_shares_are_what_their_words_say(log: list[list[int]]) -> None:
    sequences = make(log)
    places = [(person, place) for person, items in enumerate(log) for place in range(len(items))]
    shares = np.exp(TransitionsOfOthers.of(sequences).log_shares(np.arange(len(places))).numpy()) - FLOOR
    np.testing.assert_allclose(shares, [reckoned(log, *each) for each in places], atol=1e-5)


def test_who_is_alone_foresees_nothing() -> None:
    """What only one person did is no label for that person."""
    sequences = make([[1, 2, 3], [4, 5]])
    assert follow_counts(sequences).nnz
    shares = np.exp(TransitionsOfOthers.of(sequences).log_shares(np.arange(5)).numpy()) - FLOOR
    np.testing.assert_allclose(shares, 0.0, atol=1e-6)
