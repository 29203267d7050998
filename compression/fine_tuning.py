"""A little more distillation of a finished model, seeing itself as a recipe will store it."""

from collections.abc import Callable

from compression.clustering import ClusterDense
from compression.device_model import DeviceModel
from compression.fake_quantization import fake_quantized
from compression.item_table import TrainableTable
from compression.pruning import PruneDense
from compression.recipe import Recipe

SLOWER = 4  # than distillation: the model is good already


def fine_tune(model: DeviceModel, recipe: Recipe, train: Callable[[DeviceModel], object]) -> DeviceModel:
    """A model of its own, pruned and clustered at once and trained on in the form that the recipe stores.

    Args:
        model: distilled; it stays as it is.
        recipe: how it will be stored.
        train: trains the model that it is given in place, without pruning it.
    """
    tuned, table = model.copied(recipe), model.table
    for each in (PruneDense(), ClusterDense()):
        if each.wanted(recipe):
            each.apply(tuned, recipe)
    floats = table.values.numpy() if isinstance(table, TrainableTable) else table.frozen().values()
    tuned.table = TrainableTable(floats, recipe.table)
    tuned.table.start_quantization()
    with fake_quantized(tuned, recipe):
        train(tuned)
    return tuned
