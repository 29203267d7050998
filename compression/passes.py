"""All passes, applied to a device model as a recipe says."""

from typing import TYPE_CHECKING

# Imported by name, so that a step that compresses is done again when one of them changes.
from compression import clustering, dense_weights, pruning, table_storage
from compression.compression_pass import PASSES, Pass
from compression.recipe import Recipe

if TYPE_CHECKING:
    from compression.device_model import DeviceModel

ORDER = tuple(module.__name__ for module in (pruning, clustering, dense_weights, table_storage))


def passes() -> list[Pass]:
    """All passes in the order in which they are applied."""
    return sorted(PASSES.values(), key=lambda each: ORDER.index(type(each).__module__))


def compressed(model: "DeviceModel", recipe: Recipe) -> "DeviceModel":
    """A trained model compressed by a recipe, without more training; the model itself stays as it is."""
    copy = model.copied(recipe)
    for each in passes():
        if each.wanted(recipe):
            each.apply(copy, recipe)
    return copy
