from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from contracts.errors import RunError
from tests.training.sequence.test_sequences import make
from training.sequence import soft_labels as module
from training.sequence.sequences import Sequences
from training.sequence.soft_labels import load_next_item_labels, make_next_item_labels, save_next_item_labels
from training.sequence.transformer import NextItemTransformer, TransformerShape
from training.sequence.transitions import NextItemTeacher, Transitions
from training.sequence.transitions_of_others import TransitionsOfOthers

PEOPLE = make([[1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4], [5], [9, 8]])


@pytest.fixture(scope="module")
def model() -> NextItemTransformer:
    torch.manual_seed(0)
    found = NextItemTransformer(TransformerShape(width=16, blocks=1, heads=2, length=4), PEOPLE.items)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.normal_(0.0, 0.3)
    return found.eval()


def alone(model: NextItemTransformer) -> NextItemTeacher:
    """A teacher that heeds no transitions."""
    return NextItemTeacher(model, Transitions.of(PEOPLE), 0.0)


def test_labels_are_what_the_teacher_says_of_the_events_before(model: NextItemTransformer):
    labels = make_next_item_labels(alone(model), PEOPLE, 3)
    for person in range(len(PEOPLE)):
        items = PEOPLE.of(person)
        for place in range(len(items)):
            # the first window of 4 says all its places; later ones overlap by half and say their last two
            begin = 0 if place < 4 else place - place % 2 - 2
            window = torch.from_numpy(items[begin : begin + 4].astype(np.int64))[None]
            hidden = model(window, torch.tensor([window.shape[1]]))[0, place - begin]
            scores = (hidden @ model.table.weight.T + model.bias).detach()
            scores[[0, *items[: place + 1]]] = -torch.inf
            best = scores.log_softmax(0).topk(3)
            event = PEOPLE.start[person] + place
            left = best.values > -torch.inf
            assert labels.items[event][left].tolist() == best.indices[left].tolist()
            np.testing.assert_allclose(
                labels.log_share[event], best.values.nan_to_num(-torch.inf, neginf=-torch.inf), atol=2e-2
            )


def test_a_teacher_s_transitions_are_in_its_labels_but_for_one_s_own(model: NextItemTransformer):
    every = PEOPLE.items  # of all that are left
    plain, heeded = (make_next_item_labels(NextItemTeacher(model, None, heed), PEOPLE, every) for heed in (0.0, 0.5))

    def by_item(labels) -> np.ndarray:
        found = np.full((len(PEOPLE.item), every + 1), -np.inf)
        np.put_along_axis(found, labels.items.astype(np.int64), labels.log_share.astype(np.float64), 1)
        return found

    event = np.arange(len(PEOPLE.item))
    left = ~PEOPLE.taken_before(event)
    others = TransitionsOfOthers.of(PEOPLE).log_shares(event).numpy()
    assert np.array_equal(np.isfinite(by_item(heeded)), left)
    for row, among in enumerate(left):
        added = by_item(heeded)[row, among] - by_item(plain)[row, among] - 0.5 * others[row, among]
        np.testing.assert_allclose(added, added.mean() if among.any() else 0.0, atol=2e-2)  # the softmax's sum


def test_labels_come_back_from_disk(model: NextItemTransformer, tmp_path: Path):
    labels = make_next_item_labels(alone(model), PEOPLE, 3)
    save_next_item_labels(labels, tmp_path)
    found = load_next_item_labels(tmp_path)
    assert all(np.array_equal(value, getattr(found, name)) for name, value in vars(labels).items())


def test_a_folder_without_labels_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match="holds no next-item labels"):
        load_next_item_labels(tmp_path)


class Largest(TorchDispatchMode):
    """Sees the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else (found,):
            if isinstance(tensor, torch.Tensor):
                self.entries = max(self.entries, tensor.numel())
        return found


def test_a_large_catalogues_scores_are_made_for_a_few_positions_at_a_time(monkeypatch):
    torch.manual_seed(0)
    items, length, limit = 3_000, 40, 10_000
    model = NextItemTransformer(TransformerShape(width=2, blocks=1, heads=1, length=length), items)
    people = Sequences(np.arange(1, length + 1, dtype=np.int32), np.array([0, length]), items)
    whole = make_next_item_labels(alone(model), people, 3)
    monkeypatch.setattr(module, "SCORES", limit)
    with Largest() as largest:
        found = make_next_item_labels(alone(model), people, 3)
    assert items < largest.entries <= limit < length * items
    assert np.array_equal(found.items, whole.items)
    np.testing.assert_allclose(found.log_share, whole.log_share, atol=1e-2)
