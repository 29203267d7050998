import numpy as np
from hypothesis import given, settings

from tests.training.sequence.test_sequences import histories, make
from training.sequence.rules import popularity, sequence_rules


@settings(deadline=None)
@given(histories)
def test_rules_by_hand(people: list[list[int]]):
    sequences = make(people)
    recent = sequences.last(7)
    found = sequence_rules(sequences)(recent).numpy()
    occurrences = np.bincount(sequences.item, minlength=10)
    counts = np.zeros((10, 10))
    for items in people:
        for first, one in enumerate(items):
            for second in range(first + 1, min(first + 6, len(items))):
                counts[one, items[second]] += 1 / (second - first)
    for row, items in zip(found, people, strict=True):
        expected = sum(counts[item] / occurrences[item] / (ago + 1) for ago, item in enumerate(items[::-1][:5]))
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)


def test_popularity_counts_events():
    sequences = make([[1, 2, 2], [2, 3, 3]])
    assert popularity(sequences)(np.zeros((2, 4), np.int32)).tolist() == [[0, 1, 3, 2, 0, 0, 0, 0, 0, 0]] * 2
