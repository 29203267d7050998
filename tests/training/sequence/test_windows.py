import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.sequence.test_sequences import histories, make
from training.sequence.windows import batches, cut


@given(histories, st.integers(1, 8), st.integers(0, 99))
def test_windows_hold_every_target_once(people: list[list[int]], length: int, seed: int):
    windows = cut(make(people), length, np.random.default_rng(seed))
    assert windows.size.max() <= length
    covered = sorted(
        (int(person), int(place))
        for person, first, size in zip(windows.person, windows.first, windows.size, strict=True)
        for place in range(first + 1, first + size + 1)
    )
    assert covered == [(person, place) for person, items in enumerate(people) for place in range(1, len(items))]


@given(histories, st.integers(1, 8), st.integers(8, 40), st.integers(1, 3), st.integers(0, 99))
def test_targets_follow_their_positions(people: list[list[int]], length: int, positions: int, future: int, seed: int):
    learned, sequences = [], make(people)
    for batch in batches(sequences, length, positions, future, np.random.default_rng(seed)):
        held = batch.items > 0
        assert (sequences.item[batch.event[held]] == batch.items[held]).all()
        assert batch.items.size <= max(positions, length)
        for row, size in enumerate(batch.size):
            assert (batch.items[row, size:] == 0).all()
            assert (batch.targets[row, size:] == 0).all()
            for place in range(size):
                following = [int(item) for item in batch.targets[row, place] if item]
                learned.append((int(batch.items[row, place]), following))
    expected = [(a[i], a[i + 1 : i + 1 + future]) for a in people for i in range(len(a) - 1)]
    assert sorted(learned) == sorted(expected)


def test_cuts_fall_elsewhere_in_the_next_epoch():
    rng, sequences = np.random.default_rng(0), make([[1] * 50])
    assert cut(sequences, 8, rng).first.tolist() != cut(sequences, 8, rng).first.tolist()


@given(histories, st.integers(1, 12), st.integers(0, 99))
def test_processes_share_a_batch_out(people: list[list[int]], processes: int, seed: int):
    for batch in batches(make(people), 4, 20, 2, np.random.default_rng(seed)):
        found, total = [], 0.0
        for rank in range(processes):
            part, share = batch.part(rank, processes)
            assert len(part.size) > 0
            assert share == (part.size.sum() / batch.size.sum() if rank < len(batch.size) else 0.0)
            found += [part] if share else []
            total += share
        assert total == pytest.approx(1.0)
        for name, value in vars(batch).items():
            together = np.concatenate([getattr(part, name) for part in found])
            assert sorted(together.tolist()) == sorted(value.tolist())
