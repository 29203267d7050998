"""A private teacher from people's sequences: everything charged before its noise is drawn."""

from collections.abc import Callable
from dataclasses import dataclass, field

from contracts.noise import CoinSource, NoiseSource, secure_coins, secure_noise
from contracts.privacy import Charge
from training.private.dp_sgd import DpSgdRecipe, fit_privately
from training.private.examples import PersonExamples
from training.private.plan import PrivacyPlan, noise_of
from training.private.statistics import head_of, neighbours_of, noisy_pairs, noisy_popularity, spectral_table
from training.private.teacher import PrivateShape, PrivateTeacher
from training.sequence.sequences import Sequences

ChargeIt = Callable[[str, Charge], None]
"""Name of a release and what it costs; returns once that is written down, or raises."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PrivateRecipe:
    shape: PrivateShape = field(default_factory=PrivateShape)
    steps: DpSgdRecipe = field(default_factory=DpSgdRecipe)


@dataclass(frozen=True)
class Randomness:
    """Where noise and coins come from; anything but the defaults is for tests and simulations only."""

    noise: NoiseSource = secure_noise
    coins: CoinSource = secure_coins


def fit_private_teacher(
    sequences: Sequences,
    examples: PersonExamples,
    plan: PrivacyPlan,
    recipe: PrivateRecipe,
    charge: ChargeIt,
    seed: int,
    progress: Progress,
    randomness: Randomness | None = None,
) -> PrivateTeacher:
    """Release statistics, start a teacher from them, refine it by DP-SGD.

    Args:
        sequences: of all people.
        examples: of the same people.
        plan: the noise on everything.
        recipe: shapes and schedule, with the sampling rate and steps that the plan was made for.
        charge: called with each release of the plan before its noise is drawn.
        seed: of what needs no secret.
        progress: called with steps done and all steps.
        randomness: by default the operating system's.
    """
    if len(sequences) != examples.people:
        raise ValueError(f"sequences of {len(sequences)} people, examples of {examples.people}: give the same people")
    steps = recipe.steps
    if plan.steps and (plan.steps.sampling_rate, plan.steps.releases) != (steps.sampling_rate, steps.steps):
        raise ValueError("the plan was made for another sampling rate or number of steps: plan again")
    source = randomness or Randomness()
    shape, charges = recipe.shape, plan.charges

    def pay(name: str) -> float:
        """Noise multiplier of a release, charged."""
        if name in charges:
            charge(name, charges[name])
        return noise_of(charges.get(name))

    popularity = noisy_popularity(sequences, pay("popularity"), source.noise)
    head = head_of(popularity)
    noise_multiplier = pay("pairs")
    pairs = noisy_pairs(sequences, head, noise_multiplier, source.noise)
    neighbours = neighbours_of(pairs, head, sequences.items, shape.neighbours)
    table = spectral_table(pairs, head, sequences.items, shape.width, noise_multiplier, seed)
    del pairs
    teacher = PrivateTeacher(shape, popularity, neighbours, table, noise_multiplier)
    fit_privately(teacher, examples, steps, pay("steps"), source.noise, source.coins, progress)
    return teacher
