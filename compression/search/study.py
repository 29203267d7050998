"""The exploration: Optuna's trials in a journal that outlives the process.

Cheap candidates are measured first; then a seeded sampler (multi-objective TPE, Ozaki et al. 2020) proposes recipes to
train on, each first for a quarter of its steps: what another beats in size and loss, whatever their latencies, does
not get the rest (successive halving, Jamieson and Talwalkar 2016). A finished trial is never measured again.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from compression.recipe import Recipe
from compression.search.candidates import SPACE, trained, whole_space
from compression.search.front import smaller_and_better
from compression.search.measured import Measured
from training.tuning.journal import open_study

JOURNAL = "trials.journal"
FIRST_SHARE = 0.25  # of the training steps, after which a candidate must be promising
ATTEMPTS = 5  # proposals in a row that were measured before, after which any other recipe is taken
STARTUP_TRIALS = 4  # recipes taken at random before the sampler learns from what was found
KEPT, KEPT_VERSION = "measured", 2  # of what is kept: trials that kept less are not reused

Measure = Callable[[Recipe, float], Measured]
"""A recipe and the share of the training steps it may take -> what was measured on its artifact."""


def explore(
    folder: Path, study: str, cheap: Sequence[Recipe], trials: int, measure: Measure, seed: int
) -> list[Measured]:
    """Measure cheap candidates and then some that are trained on.

    Args:
        folder: where the journal is, or will be.
        study: what the trials belong to, such as a model's version; others' are not reused.
        cheap: recipes that need no training.
        trials: recipes to propose and train on.
        measure: called for what has not been measured yet.
        seed: of the sampler.

    Returns:
        Everything measured, by the order of first measurement.

    Raises:
        RunError: if the journal is damaged.
    """
    import optuna
    from optuna.distributions import CategoricalDistribution

    # Bytes and loss: latency gates the choice, it orders nothing.
    session = open_study(folder / JOURNAL, f"{study}/{KEPT_VERSION}", ("minimize", "minimize"))
    found: dict[str, Measured] = {}
    for finished in session.get_trials(deepcopy=False):
        if KEPT in finished.user_attrs:
            one = msgspec.convert(finished.user_attrs[KEPT], Measured)
            found[one.recipe] = one

    def keep(one: Measured, params: dict[str, int | str]) -> None:
        found[one.recipe] = one
        session.add_trial(
            optuna.create_trial(
                params=params,
                distributions={name: CategoricalDistribution(SPACE[name]) for name in params},
                values=[one.bytes, one.loss.value],
                user_attrs={KEPT: msgspec.to_builtins(one)},
            )
        )

    for recipe in cheap:
        if recipe.name not in found:
            keep(measure(recipe, 0.0), {})
    startup = len(cheap) + STARTUP_TRIALS

    def proposal() -> dict[str, int | str]:
        for _ in range(ATTEMPTS):
            session.sampler = optuna.samplers.TPESampler(seed=seed + len(session.trials), n_startup_trials=startup)
            trial = session.ask({name: CategoricalDistribution(choices) for name, choices in SPACE.items()})
            session.tell(trial, state=optuna.trial.TrialState.FAIL)  # what is measured is added as a whole
            if trained(trial.params).name not in found:
                return dict(trial.params)
        left = [point for point in whole_space() if trained(point).name not in found]
        return left[np.random.default_rng(seed + len(found)).integers(len(left))]

    for _ in range(sum(one.steps > 0 for one in found.values()), min(trials, len(whole_space()))):
        params = proposal()
        first = measure(trained(params), FIRST_SHARE)
        promising = not any(smaller_and_better(other, first) for other in found.values())
        keep(measure(trained(params), 1.0) if promising else first, params)
    return list(found.values())
