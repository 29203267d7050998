"""Distillation of a device model with blocks, from a teacher that knows a round of nine items."""

import numpy as np
import pytest
import torch

from compression.device_model import DeviceModel
from compression.next_item import NextItemDistillation, distil_next_item, initial_table, next_item_scores
from training.sequence.fit import NextItemRecipe, fit_next_item
from training.sequence.leave_one_out import ranks
from training.sequence.sequences import Sequences
from training.sequence.soft_labels import NextItemLabels, make_next_item_labels
from training.sequence.transformer import NextItemTransformer, TransformerShape
from training.sequence.transitions import NextItemTeacher, Transitions

LENGTH = 8
SHAPE = TransformerShape(width=16, blocks=1, heads=2, length=LENGTH, dropout=0.1)
ITEM = np.concatenate([1 + (first + np.arange(9)) % 9 for first in range(9)] * 4).astype(np.int32)
ROUND = Sequences(ITEM, np.arange(0, len(ITEM) + 1, 9), 9)  # 1 to 9 and again
TRANSITIONS = Transitions.of(ROUND.without_last(1))


@pytest.fixture(scope="module")
def labels() -> NextItemLabels:
    torch.manual_seed(0)
    recipe = NextItemRecipe(shape=SHAPE, epochs=30, positions=128, rate=1e-2, warm_up=10, average=0.9)
    teacher = fit_next_item(NextItemTransformer(SHAPE, 9), ROUND.without_last(1), recipe, 0, lambda *_: None)
    return make_next_item_labels(NextItemTeacher(teacher, TRANSITIONS, 0.0), ROUND.without_last(1), 4)


def distilled(make, labels: NextItemLabels, **changes) -> DeviceModel:
    spec = make["spec"](LENGTH, items=9, candidates=5, blocks=1)
    model = DeviceModel.create(spec, initial_table(labels, spec.width), 0)
    recipe = NextItemDistillation(**({"epochs": 20, "positions": 128, "rate": 1e-2} | changes))
    distil_next_item(model, ROUND.without_last(1), labels, recipe, 0, lambda *_: None)
    return model


def test_the_device_model_learns_what_the_teacher_says(make, labels):
    model = distilled(make, labels)
    assert model.table.is_quantized
    assert (ranks(next_item_scores(model), ROUND, 1, LENGTH) == 0).mean() > 0.9


@pytest.mark.parametrize("names_history", [False, True])
def test_it_follows_the_teacher_and_not_the_data(make, labels, names_history: bool):
    """A teacher that says the item after next: so does the device model, though the data say the next.

    Even if the teacher all but says what was taken last: the history is no answer, and the rest of its word counts.
    """
    last = ITEM.reshape(-1, 9)[:, :8].ravel()
    told = (last + 1) % 9 + 1
    best = np.stack([last if names_history else told, told], 1).astype(np.int32)
    lying = NextItemLabels(best, np.zeros((len(told), 2), np.float16), labels.vectors, labels.bias)
    lying.log_share[:, 1] = -20.0
    model = distilled(make, lying, soft=1.0, epochs=120)
    recent = np.zeros((1, LENGTH), np.int32)
    recent[0, -3:] = [4, 5, 6]
    scores = next_item_scores(model)(recent)[0]
    scores[[0, 4, 5, 6]] = -torch.inf
    assert int(scores.argmax()) == 8


def test_pruned_to_the_sparsity_asked(make, labels):
    model = distilled(make, labels, sparsity=0.5)
    kernel = model.token_encoder.get_layer("block0_feed_in").kernel.numpy()
    assert (kernel == 0).mean() == pytest.approx(0.5, abs=0.01)


def test_the_initial_table_spans_what_tells_the_teacher_s_vectors_apart(labels):
    """With as many dimensions as the teacher's: the same span, but for what all share, in columns of equal strength."""
    table = initial_table(labels, 18)
    ours, theirs = table[1:, :16].astype(np.float64), labels.vectors[1:] - labels.vectors[1:].mean(0)
    found, *_ = np.linalg.lstsq(ours, theirs, rcond=None)
    np.testing.assert_allclose(ours @ found, theirs, atol=1e-4)
    strong = ours[:, ours.any(0)]
    np.testing.assert_allclose(strong.T @ strong, np.eye(8) * np.square(strong[:, 0]).sum(), atol=1e-4)
    assert (table[:, -1] == 0).all()
    assert (table[0] == 0).all()
