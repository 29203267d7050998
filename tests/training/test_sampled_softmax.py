"""The sampled losses against sums over the whole catalogue."""

import numpy as np
import pytest
import torch

from training.examples import Examples
from training.histories import Histories
from training.sampled_softmax import basket_loss, draw_candidates, new_item_loss


@pytest.fixture
def batch(logs):
    prepared = logs.prepared(logs.draw(3, items=30), items=30)
    baskets = np.flatnonzero(np.diff(prepared.basket_person, prepend=-1) == 0)[:12]
    from training.histories import histories_of

    histories = histories_of(prepared, baskets, 8, np.zeros((len(baskets), 0), np.int32))
    return Examples(prepared, baskets, histories).batch(np.arange(len(baskets)))


def whole_softmax(batch, scores, base, gain):
    """The basket loss with every item of the catalogue, one example at a time."""
    total = 0.0
    for row in range(len(scores)):
        final = scores[row].clone()
        for place, item in enumerate(batch.histories.items[row]):
            if item:
                final[item] = base[row, place] + gain[row, place]
        final[0] = -torch.inf
        targets = batch.target[batch.example == row]
        total += float((final.logsumexp(0) - final[targets]).mean())
    return total / len(scores)


def scores_of(batch, seed):
    generator = torch.Generator().manual_seed(seed)
    rows, length = batch.histories.items.shape
    return (
        torch.randn(rows, 31, generator=generator),
        torch.randn(rows, length, generator=generator),
        torch.randn(rows, length, generator=generator),
    )


def test_with_every_item_sampled_for_certain_the_estimate_is_the_whole_softmax(batch):
    scores, base, gain = scores_of(batch, 0)
    popularity = np.full(31, 1 / 30)
    candidates = draw_candidates(batch.target, popularity, 5_000, np.random.default_rng(0))
    assert len(candidates.items) == 30
    items = torch.from_numpy(candidates.items)
    found = basket_loss(batch, candidates, scores[:, items], base, gain)
    assert float(found) == pytest.approx(whole_softmax(batch, scores, base, gain), rel=1e-4)


def test_a_sample_estimates_the_whole_sum_on_average(batch):
    scores, base, gain = scores_of(batch, 1)
    popularity = np.bincount(batch.target, minlength=31) + 0.5
    popularity = popularity / popularity.sum()
    found = []
    for seed in range(300):
        candidates = draw_candidates(batch.target, popularity, 12, np.random.default_rng(seed))
        found.append(float(basket_loss(batch, candidates, scores[:, torch.from_numpy(candidates.items)], base, gain)))
    assert np.mean(found) == pytest.approx(whole_softmax(batch, scores, base, gain), abs=0.1)


def test_candidates_hold_the_targets_and_know_their_places():
    targets = np.array([3, 9, 3, 20])
    candidates = draw_candidates(targets, np.full(31, 1 / 30), 6, np.random.default_rng(0))
    assert set(targets) <= set(candidates.items)
    assert (candidates.items > 0).all()
    assert (candidates.items[candidates.position[candidates.items]] == candidates.items).all()
    assert (np.delete(candidates.position, candidates.items) == len(candidates.items)).all()
    assert (candidates.correction <= 0).all()


def test_new_item_loss_never_looks_at_the_history(batch):
    scores, _, _ = scores_of(batch, 2)
    candidates = draw_candidates(batch.target, np.full(31, 1 / 30), 5_000, np.random.default_rng(0))
    labels = np.zeros((len(scores), 2), np.int32)
    for row, history in enumerate(batch.histories.items):
        labels[row] = [item for item in range(1, 31) if item not in history][:2]
    share = np.full(labels.shape, 0.5, np.float32)
    items = torch.from_numpy(candidates.items)
    before = new_item_loss(batch, candidates, scores[:, items], labels, share)
    for row, history in enumerate(batch.histories.items):
        scores[row, torch.from_numpy(history.astype(np.int64))] += 50.0
    after = new_item_loss(batch, candidates, scores[:, items], labels, share)
    assert float(after) == pytest.approx(float(before), rel=1e-5)


def test_a_batch_tells_new_targets_from_those_of_the_history(batch):
    histories: Histories = batch.histories
    for example, target, place in zip(batch.example, batch.target, batch.place, strict=True):
        if place >= 0:
            assert histories.items[example, place] == target
        else:
            assert target not in histories.items[example]
    sums = np.bincount(batch.example, batch.share)
    assert sums == pytest.approx(np.ones(len(sums)))
