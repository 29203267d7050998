"""A little more distillation of a finished model, seeing itself as a recipe will store it."""

from collections.abc import Callable
from dataclasses import replace

from compression.device_model import DeviceModel
from compression.distillation import DistillationRecipe, distil
from compression.fake_quantization import fake_quantized
from compression.item_table import TrainableTable
from compression.pruning import PruneDense
from compression.recipe import Recipe
from training.examples import Examples
from training.soft_labels import SoftLabels

SLOWER = 4  # than distillation: the model is good already


def fine_tune(
    model: DeviceModel,
    examples: Examples,
    labels: SoftLabels,
    recipe: Recipe,
    distillation: DistillationRecipe,
    seed: int,
    progress: Callable[[int, int], None],
) -> DeviceModel:
    """A model of its own, pruned at once and trained on in the form that the recipe stores.

    Args:
        model: distilled; it stays as it is.
        examples: n.
        labels: of the same n examples.
        recipe: how it will be stored.
        distillation: weights of the losses, and rates, of which a part is taken; its steps are.
        seed: of batches and hidden tokens.
        progress: called with steps done and all steps.
    """
    tuned, table = model.copied(recipe), model.table
    PruneDense().apply(tuned, recipe)
    floats = table.values.numpy() if isinstance(table, TrainableTable) else table.frozen().values()
    tuned.table = TrainableTable(floats, recipe.table)
    tuned.table.start_quantization()
    with fake_quantized(tuned, recipe.dense):
        distil(tuned, examples, labels, replace(distillation.slower(SLOWER), sparsity=0.0), seed, progress)
    return tuned
