"""The loss of a batch: among a sample, against sums written down plainly, and shared out among processes."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.sequence.loss import Sampler, batch_loss
from training.sequence.sequences import Sequences
from training.sequence.transformer import NextItemTransformer, TransformerShape
from training.sequence.windows import WindowBatch, batches

ITEMS = 30
SHAPE = TransformerShape(width=8, blocks=1, heads=2, length=6, dropout=0.0)


@dataclass(frozen=True)
class World:
    model: NextItemTransformer
    sequences: Sequences

    def batch(self, positions: int, future: int = 1) -> WindowBatch:
        return next(batches(self.sequences, SHAPE.length, positions, future, np.random.default_rng(0)))

    def taken(self, event: int) -> set[int]:
        person = int(np.searchsorted(self.sequences.start, event, side="right")) - 1
        return set(self.sequences.item[self.sequences.start[person] : event + 1].tolist())


def make_world(seed: int) -> World:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, 20)
    sizes[0] = 12  # somebody has targets
    item = 1 + np.minimum(rng.geometric(0.1, sizes.sum()), ITEMS) % ITEMS  # some are taken more often than others
    torch.manual_seed(seed)
    model = NextItemTransformer(SHAPE, ITEMS)
    with torch.no_grad():
        model.table.weight.normal_()
        model.bias.normal_()
        model.bias[0] = -1e9  # padding, which is never drawn
    return World(model, Sequences(item.astype(np.int32), np.concatenate([[0], np.cumsum(sizes)]), ITEMS))


def test_with_every_item_drawn_the_loss_is_the_full_one():
    world = make_world(1)
    batch, future = world.batch(40, 2), (1.0, 0.5)
    drawn = Sampler.of(world.sequences, 5_000).draw(10, np.random.default_rng(0))
    assert len(drawn.items) == ITEMS
    losses = []
    for candidates in (None, drawn):
        world.model.zero_grad()
        loss = batch_loss(world.model, batch, world.sequences, future, candidates)
        loss.backward()
        losses.append([loss.detach(), *(parameter.grad for parameter in world.model.parameters())])
    for full, sampled in zip(*losses, strict=True):
        torch.testing.assert_close(sampled, full, atol=1e-5, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.integers(1, 3), st.integers(0, 8), st.integers(1, 8))
def test_drawn_items_count_by_their_chance_and_targets_once(seed: int, ahead: int, popular: int, uniform: int):
    world = make_world(seed)
    batch, future = world.batch(30, ahead), (1.0, 0.5, 0.25)[:ahead]
    drawn = Sampler.of(world.sequences, uniform).draw(popular, np.random.default_rng(seed))
    chance = dict(zip(drawn.items.tolist(), np.exp(drawn.correction).tolist(), strict=True))
    found = []
    with torch.no_grad():
        hidden = world.model(torch.from_numpy(batch.items), torch.from_numpy(batch.size))
        for row, size in enumerate(batch.size):
            for place in range(size):
                scores = (hidden[row, place] @ world.model.table.weight.T + world.model.bias).double()
                wanted: dict[int, float] = {}
                for item, weight in zip(batch.targets[row, place].tolist(), future, strict=True):
                    if item:
                        wanted[item] = wanted.get(item, 0.0) + weight
                taken = world.taken(batch.event[row, place])
                total = sum(scores[item].exp() for item in wanted)
                total += sum(scores[item].exp() / chance[item] for item in chance if item not in {*wanted, *taken})
                for item, weight in wanted.items():
                    found.append(float(weight / sum(wanted.values()) * (total.log() - scores[item])))
    expected = sum(found) / batch.size.sum()
    assert batch_loss(world.model, batch, world.sequences, future, drawn).item() == pytest.approx(expected, rel=1e-4)


def test_the_sum_over_a_sample_is_the_whole_one_on_average():
    world = make_world(3)
    batch = world.batch(1)
    assert batch.size.tolist() == [1]  # else the mean of logarithms hides the sums
    sampler, losses = Sampler.of(world.sequences, 4), []
    with torch.no_grad():
        full = float(batch_loss(world.model, batch, world.sequences, (1.0,)))
        for seed in range(2_000):
            drawn = sampler.draw(3, np.random.default_rng(seed))
            losses.append(float(batch_loss(world.model, batch, world.sequences, (1.0,), drawn)))
    assert np.std(np.exp(losses)) > 0.1 * np.exp(full)  # else there was no chance in it
    assert np.mean(np.exp(losses)) == pytest.approx(np.exp(full), rel=0.06)


def test_draws_are_as_frequent_as_the_correction_says():
    sampler = Sampler.of(make_world(4).sequences, 3)
    count, chance = np.zeros(ITEMS + 1), np.zeros(ITEMS + 1)
    for seed in range(3_000):
        drawn = sampler.draw(6, np.random.default_rng(seed))
        count[drawn.items] += 1
        chance[drawn.items] = np.exp(drawn.correction)
    assert count / 3_000 == pytest.approx(chance, abs=0.04)
    assert chance[1:].max() > 2 * chance[1:].min() > 0.0


@pytest.mark.parametrize("processes", [2, 3, 50])
@pytest.mark.parametrize("uniform", [None, 5])
def test_parts_add_up_to_the_batch(processes: int, uniform: int | None):
    world = make_world(2)
    batch, rng = world.batch(60), np.random.default_rng(0)
    assert len(set(batch.size.tolist())) > 1  # of unequal weight
    drawn = Sampler.of(world.sequences, uniform).draw(9, rng) if uniform else None
    world.model.zero_grad()
    whole = batch_loss(world.model, batch, world.sequences, (1.0,), drawn)
    whole.backward()
    gradients = [parameter.grad.clone() for parameter in world.model.parameters()]
    world.model.zero_grad()
    total = 0.0
    for rank in range(processes):
        part, weight = batch.part(rank, processes)
        loss = weight * batch_loss(world.model, part, world.sequences, (1.0,), drawn)
        loss.backward()
        total += loss.item()
    assert total == pytest.approx(whole.item(), rel=1e-5)
    for parameter, gradient in zip(world.model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-6, rtol=1e-4)
