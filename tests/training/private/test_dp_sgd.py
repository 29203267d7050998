"""Per-person clipping against autograd, one person's influence on a step, and that what is released is noised."""

import copy

import numpy as np
import pytest
import torch

from contracts.noise import seeded_noise
from training.private.dp_sgd import DpSgdRecipe, clipped_sum, fit_privately, noisy_optimizer, person_losses, wrap
from training.private.examples import PersonExamples, next_item_examples
from training.private.fit import PrivateRecipe, Randomness, fit_private_teacher
from training.private.plan import WITHOUT_PRIVACY
from training.private.teacher import PrivateShape


@pytest.fixture
def examples(make_sequences) -> PersonExamples:
    return next_item_examples(make_sequences(), 8, 6)


def shake(teacher) -> None:
    """Away from its start, so that every parameter has a gradient."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter += 0.3 * torch.randn_like(parameter)


def flat(teacher) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in teacher.parameters()])


def gradient_of(teacher, examples, row) -> torch.Tensor:
    """One person's whole gradient by plain autograd."""
    teacher.zero_grad()
    person_losses(teacher, examples, row[None]).sum().backward()
    return torch.cat([parameter.grad.flatten().clone() for parameter in teacher.parameters()])


def wrapped_sum(teacher, examples, rows, norm) -> torch.Tensor:
    recipe = DpSgdRecipe(clipping_norm=norm)
    teacher.train()
    teacher.zero_grad()
    model = wrap(teacher, norm)
    optimizer = noisy_optimizer(teacher, recipe, 0.0, seeded_noise(0), 1.0)
    clipped_sum(model, optimizer, examples, rows)
    found = torch.cat([parameter.grad.flatten().clone() for parameter in teacher.parameters()])
    model.remove_hooks()
    return found


@pytest.mark.parametrize("norm", [0.05, 1.0, 1e6])
def test_ghost_clipping_is_clipping_of_each_persons_whole_gradient(teacher, examples, norm):
    shake(teacher)
    rows = examples.draw(np.array([3, 7, 20, 41]), 3, np.random.default_rng(0).random)
    expected = torch.zeros(())
    for row in rows:
        gradient = gradient_of(teacher, examples, row)
        expected = expected + gradient * min(1.0, norm / float(gradient.norm()))
    torch.testing.assert_close(wrapped_sum(teacher, examples, rows, norm), expected, rtol=2e-4, atol=2e-6)


def test_one_person_moves_a_sum_by_at_most_the_norm(teacher, examples):
    shake(teacher)
    rows = examples.draw(np.arange(12), 3, np.random.default_rng(0).random)
    whole = wrapped_sum(teacher, examples, rows, 0.01)
    for gone in range(len(rows)):
        moved = whole - wrapped_sum(teacher, examples, np.delete(rows, gone, 0), 0.01)
        assert 0.0 < float(moved.norm()) <= 0.01 * 1.001


def test_nobody_leaves_noise_alone(teacher, examples):
    before = flat(teacher)
    asked: list[int] = []

    def noise(size: int) -> np.ndarray:
        asked.append(size)
        return np.random.default_rng(len(asked)).standard_normal(size)

    recipe = DpSgdRecipe(sampling_rate=0.5, steps=1)
    fit_privately(teacher, examples, recipe, 1.0, noise, np.ones, lambda *_: None)
    after = flat(teacher)
    assert sum(asked) == len(before)  # every number of the model
    assert (after != before).float().mean() > 0.99


def test_noise_has_the_deviation_of_noise_multiplier_times_norm_over_expected_people(teacher, examples):
    recipe = DpSgdRecipe(clipping_norm=0.5, sampling_rate=0.5, steps=1)
    teacher.train()
    model = wrap(teacher, recipe.clipping_norm)
    optimizer = noisy_optimizer(teacher, recipe, 4.0, seeded_noise(0), 10.0)
    clipped_sum(model, optimizer, examples, np.zeros((0, 2), np.int64))
    optimizer.pre_step()
    noise = torch.cat([parameter.grad.flatten() for parameter in teacher.parameters()])
    assert float(noise.std()) == pytest.approx(4.0 * 0.5 / 10.0, rel=0.15)
    model.remove_hooks()


def test_people_in_parts_are_the_people_at_once(teacher, examples, monkeypatch):
    other, before = copy.deepcopy(teacher), flat(teacher)
    recipe = DpSgdRecipe(sampling_rate=0.5, steps=2)
    fit_privately(teacher, examples, recipe, 0.0, seeded_noise(0), np.random.default_rng(5).random, lambda *_: None)
    monkeypatch.setattr("training.private.dp_sgd.LOGITS_AT_ONCE", 7 * recipe.examples * other.items)
    fit_privately(other, examples, recipe, 0.0, seeded_noise(0), np.random.default_rng(5).random, lambda *_: None)
    assert (flat(teacher) - flat(other)).norm() < 0.01 * (flat(teacher) - before).norm()  # sums in another order


def test_people_without_examples_change_nothing(teacher, examples):
    start = np.append(examples.start, examples.start[-1])  # one more person, who has none
    more = PersonExamples(examples.histories, examples.targets, start)
    rows = more.draw(np.array([2, more.people - 1]), 2, np.random.default_rng(0).random)
    assert (rows[1] == -1).all()
    shake(teacher)
    both, one = wrapped_sum(teacher, more, rows, 1.0), wrapped_sum(teacher, more, rows[:1], 1.0)
    torch.testing.assert_close(both, one, rtol=1e-3, atol=1e-5)  # another size of batch sums in another order


def test_where_nothing_is_taken_twice_the_history_is_left_out(make_sequences, small_recipe):
    sequences = make_sequences()
    examples = next_item_examples(sequences, 8, 6)
    recipe = PrivateRecipe(PrivateShape(width=4, recent=4, neighbours=8, repeats=False), small_recipe.steps)
    teacher = fit_private_teacher(
        sequences, examples, WITHOUT_PRIVACY, recipe, lambda *_: None, 0, lambda *_: None, Randomness(coins=np.ones)
    )
    some = examples.histories[np.arange(20)]
    scores = teacher.scores(some).numpy()
    seen = np.take_along_axis(scores, some.items.astype(np.int64), 1)
    assert (seen[some.items > 0] < -1000).all()
    assert (np.sort(scores, 1)[:, 10] > -1000).all()


def test_without_noise_its_steps_lower_the_loss(teacher, examples):
    """From a shaken teacher, so that what statistics knew does not count."""
    shake(teacher)
    rows = examples.draw(np.arange(examples.people), 2, np.random.default_rng(1).random)
    before = float(person_losses(teacher, examples, rows).detach().sum())
    recipe = DpSgdRecipe(sampling_rate=0.9, steps=30)
    fit_privately(teacher, examples, recipe, 0.0, seeded_noise(0), np.random.default_rng(5).random, lambda *_: None)
    assert float(person_losses(teacher, examples, rows).detach().sum()) < before
