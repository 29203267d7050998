"""What is tuned: the teacher's hyperparameters by their names under [teacher], and the ranges that are searched."""

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from training.fit_teacher import TeacherRecipe

if TYPE_CHECKING:
    import optuna

DIGITS = 3  # that count, so that what is written down is what was measured


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One choice; every field is a key of [teacher]."""

    steps: int
    learning_rate: float
    copy_learning_rate: float
    new_item_weight: float
    dropout: float
    blocks: int
    recent: int

    def lines(self) -> list[str]:
        """As lines of the project file."""
        return [f"{name} = {value!r}" for name, value in msgspec.structs.asdict(self).items()]


FIXED = Candidate(
    steps=0, learning_rate=0.0, copy_learning_rate=0.0, new_item_weight=0.0, dropout=0.0, blocks=1, recent=1
)
"""Stands for any choice, where all but the choice matters."""
LOGARITHMIC = {"learning_rate": (5e-4, 2e-2), "copy_learning_rate": (1e-4, 1e-2), "new_item_weight": (0.25, 8.0)}
LINEAR = {"dropout": (0.0, 0.5)}
WHOLE = {"blocks": (1, 3), "recent": (16, 128)}
STEPS_FACTOR = 2  # half to twice the steps that the project has


def candidate_of(recipe: TeacherRecipe) -> Candidate:
    """The choice that a recipe makes."""
    return Candidate(
        steps=recipe.steps,
        learning_rate=recipe.rate,
        copy_learning_rate=recipe.copy_rate,
        new_item_weight=recipe.new_item_weight,
        dropout=recipe.shape.dropout,
        blocks=recipe.shape.blocks,
        recent=recipe.shape.recent,
    )


def recipe_of(candidate: Candidate, recipe: TeacherRecipe) -> TeacherRecipe:
    """The recipe with another choice made."""
    shape = replace(recipe.shape, dropout=candidate.dropout, blocks=candidate.blocks, recent=candidate.recent)
    return replace(
        recipe,
        shape=shape,
        steps=candidate.steps,
        rate=candidate.learning_rate,
        copy_rate=candidate.copy_learning_rate,
        new_item_weight=candidate.new_item_weight,
    )


def suggest(trial: "optuna.Trial", current: Candidate) -> Candidate:
    """A choice by the study's sampler; the ranges are widened to hold the current one, also one of 0."""
    steps = (max(current.steps // STEPS_FACTOR, 1), current.steps * STEPS_FACTOR)
    chosen: dict[str, float] = {"steps": trial.suggest_int("steps", *steps, log=True)}
    for ranges, log in ((LOGARITHMIC, True), (LINEAR, False)):
        for name, (low, high) in ranges.items():
            own = getattr(current, name)
            found = trial.suggest_float(name, min(low, own), max(high, own), log=log and own > 0)
            chosen[name] = float(f"{found:.{DIGITS}g}")
    for name, (least, most) in WHOLE.items():
        own = getattr(current, name)
        chosen[name] = trial.suggest_int(name, min(least, own), max(most, own))
    return msgspec.convert(chosen, Candidate)
