"""Everything is charged before its noise is drawn, and a private teacher still learns."""

import numpy as np
import pytest

from contracts.errors import PrivacyError
from training.private.examples import next_item_examples, recent_histories
from training.private.fit import PrivateRecipe, Randomness, fit_private_teacher
from training.private.plan import PrivacyPlan


def test_charges_come_before_noise(make_sequences, small_recipe):
    sequences = make_sequences()
    plan = PrivacyPlan.of_noise(1.0, small_recipe.steps.sampling_rate, small_recipe.steps.steps)
    happened: list[str] = []

    def noise(size: int) -> np.ndarray:
        happened.append("noise")
        return np.zeros(size)

    fit_private_teacher(
        sequences,
        next_item_examples(sequences, 8, 6),
        plan,
        small_recipe,
        lambda name, charge: happened.append(name),
        0,
        lambda *_: None,
        Randomness(noise, np.random.default_rng(0).random),
    )
    compact = [each for at, each in enumerate(happened) if at == 0 or happened[at - 1] != each]
    assert compact == ["popularity", "noise", "pairs", "noise", "steps", "noise"]


@pytest.mark.parametrize("refused", ["popularity", "pairs", "steps"])
def test_nothing_is_drawn_for_a_refused_charge(make_sequences, small_recipe, refused):
    sequences = make_sequences()
    plan = PrivacyPlan.of_noise(1.0, small_recipe.steps.sampling_rate, small_recipe.steps.steps)
    paid: list[str] = []
    drawn: list[str] = []

    def charge(name: str, _: object) -> None:
        if name == refused:
            raise PrivacyError("the budget is spent")
        paid.append(name)

    def noise(size: int) -> np.ndarray:
        drawn.append(paid[-1])
        return np.zeros(size)

    with pytest.raises(PrivacyError):
        fit_private_teacher(
            sequences,
            next_item_examples(sequences, 8, 6),
            plan,
            small_recipe,
            charge,
            0,
            lambda *_: None,
            Randomness(noise, np.random.default_rng(0).random),
        )
    assert refused not in drawn


def test_a_plan_of_other_steps_is_refused(make_sequences, small_recipe):
    sequences = make_sequences()
    with pytest.raises(ValueError, match="plan again"):
        fit_private_teacher(
            sequences,
            next_item_examples(sequences, 8, 6),
            PrivacyPlan.of_noise(1.0, 0.5, small_recipe.steps.steps + 1),
            small_recipe,
            lambda *_: None,
            0,
            lambda *_: None,
        )


def test_a_private_teacher_finds_the_ring(make_sequences):
    """With the operating system's noise: of a thousand people, the next item of the ring stands first or nearly so."""
    sequences = make_sequences(people=1000)
    recipe = PrivateRecipe()
    plan = PrivacyPlan.of_noise(1.0, recipe.steps.sampling_rate, recipe.steps.steps)
    teacher = fit_private_teacher(
        sequences, next_item_examples(sequences, 8, 6), plan, recipe, lambda *_: None, 0, lambda *_: None
    )
    recent = (np.arange(20)[:, None] + np.arange(5)) % 20 + 1
    scores = teacher.scores(recent_histories(recent.astype(np.int32))).numpy()
    scores[np.arange(20)[:, None], recent] = -np.inf
    best = scores.argsort(1)[:, ::-1][:, :3]
    following = (np.arange(20) + 5) % 20 + 1
    assert (best == following[:, None]).any(1).mean() > 0.8
