import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.sequence.test_sequences import histories, make
from training.sequence.leave_one_out import hits_of_ranks, ndcg_of_ranks, ranks


@settings(deadline=None)
@given(histories, st.sampled_from([1, 2]), st.integers(0, 99))
def test_ranks_by_hand(people: list[list[int]], held_out: int, seed: int):
    table = np.random.default_rng(seed).integers(0, 4, (10, 10)).astype(np.float32)  # ties on purpose

    def score(recent: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(table[recent[:, -1]])

    found = ranks(score, make(people), held_out, 5)
    for person, items in enumerate(people):
        before, target = items[:-held_out], items[-held_out]
        scores = table[before[-1] if before else 0]
        unseen = [item for item in range(1, 10) if item not in before and item != target]
        assert found[person] == sum(scores[item] >= scores[target] for item in unseen)


def test_gains_of_ranks():
    rank = np.array([0, 1, 9, 10, 3000])
    np.testing.assert_allclose(ndcg_of_ranks(rank), [1.0, 1 / np.log2(3), 1 / np.log2(11), 0.0, 0.0])
    assert hits_of_ranks(rank).tolist() == [1, 1, 1, 0, 0]


def test_a_constant_model_gains_nothing():
    sequences = make([[1, 2, 3], [4, 5, 6]])
    assert (ranks(lambda recent: torch.zeros(len(recent), 10), sequences, 1, 5) == 6).all()
