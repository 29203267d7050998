"""The Pareto front, held to Optuna's."""

import numpy as np
import optuna
import pytest

from training.tuning.front import pareto_front


@pytest.mark.parametrize("seed", range(8))
def test_the_front_is_optuna_s(seed):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    values = np.random.default_rng(seed).integers(0, 4, (12, 3)).astype(float)  # integers: some are equal
    study = optuna.create_study(directions=["maximize"] * 3)
    for row in values:
        study.add_trial(optuna.trial.create_trial(values=row.tolist()))
    best = {trial.number for trial in study.best_trials}
    assert set(np.flatnonzero(pareto_front(values))) == best
