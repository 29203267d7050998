"""Training of a search's candidates: the distilled model goes on learning, seeing itself as a recipe will store it."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.project import Project
from pocketrec.next_item_steps import is_next_item
from pocketrec.recipe_search import Bench, Tune
from training.prepared import Prepared

if TYPE_CHECKING:
    from compression.device_model import DeviceModel
    from compression.recipe import Recipe

STEPS = 120  # of a whole training of one recipe
EPOCHS = 4  # passes over the log of one, where it is of next items
Train = Callable[["DeviceModel", int, Callable[[int, int], None]], object]
"""A model to train in place, how long, and what is called with how far it is and how far it goes."""


def tuner(bench: Bench, project: Project, prepared: Prepared, train_folder: Path) -> Tune:
    """Distils a bench's model on for a share of a whole training.

    Args:
        bench: its model stays as it is; it is told how far the training is.
        project: which kind of shop it is.
        prepared: the log.
        train_folder: where the teacher wrote what it knows.
    """

    @cache
    def lessons() -> tuple[int, Train]:
        """Read when the first recipe is trained on: a search whose trials are all finished needs none."""
        from compression.repeatable import train_repeatably

        train_repeatably()
        return (_next_items if is_next_item(project) else _baskets)(bench, prepared, train_folder)

    def tune(recipe: "Recipe", share: float) -> "tuple[DeviceModel, int]":
        from compression.fine_tuning import fine_tune

        whole, train = lessons()
        taken, advance = max(round(share * whole), 1), partial(bench.progress, f"train {recipe.name}")
        return fine_tune(bench.model, recipe, lambda model: train(model, taken, advance)), taken

    return tune


def _baskets(bench: Bench, prepared: Prepared, train_folder: Path) -> tuple[int, Train]:
    from compression.distillation import DistillationRecipe, distil
    from compression.fine_tuning import SLOWER
    from training.examples import examples_of
    from training.segments import fit_segments
    from training.soft_labels import load_soft_labels

    labels = load_soft_labels(train_folder)
    segments = fit_segments(prepared, bench.seed)
    examples = examples_of(prepared, labels.baskets, bench.model.spec.history_length, segments)
    gentle = replace(DistillationRecipe().slower(SLOWER), sparsity=0.0)  # what is pruned stays so

    def train(model: "DeviceModel", steps: int, advance: Callable[[int, int], None]) -> None:
        distil(model, examples, labels, replace(gentle, steps=steps), bench.seed, advance)

    return STEPS, train


def _next_items(bench: Bench, prepared: Prepared, train_folder: Path) -> tuple[int, Train]:
    from compression.fine_tuning import SLOWER
    from compression.next_item import NextItemDistillation, distil_next_item
    from training.cases import TRAIN
    from training.sequence.soft_labels import load_next_item_labels
    from training.sequence.train import first_takes

    labels, sequences = load_next_item_labels(train_folder), first_takes(prepared, TRAIN)
    gentle = NextItemDistillation().slower(SLOWER)

    def train(model: "DeviceModel", epochs: int, advance: Callable[[int, int], None]) -> None:
        distil_next_item(model, sequences, labels, replace(gentle, epochs=epochs), bench.seed, advance)

    return EPOCHS, train
