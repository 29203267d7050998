"""The Pareto front, held to Optuna's."""

import numpy as np
import optuna
import pytest

from training.pareto import pareto_front, surpasses


@pytest.mark.parametrize("seed", range(8))
def test_the_front_is_optuna_s(seed):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    values = np.random.default_rng(seed).integers(0, 4, (12, 3)).astype(float)  # integers: some are equal
    study = optuna.create_study(directions=["minimize"] * 3)
    for row in values:
        study.add_trial(optuna.trial.create_trial(values=row.tolist()))
    best = sorted(trial.number for trial in study.best_trials)
    assert pareto_front([tuple(row) for row in values], surpasses) == [tuple(values[number]) for number in best]
