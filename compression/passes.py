"""Passes: what may be done to a trained device model without training, each in a file of its own.

A pass registers itself by being defined; `compressed` applies those that a recipe names, in a fixed order.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from compression.recipe import Recipe
from contracts.errors import ConfigError

if TYPE_CHECKING:
    from compression.device_model import DeviceModel

PASSES: dict[str, "Pass"] = {}


class Pass(ABC):
    """Changes a device model in place towards a recipe."""

    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        if cls.name in PASSES:
            raise ConfigError(f"{cls.__name__} and {type(PASSES[cls.name]).__name__} are both called {cls.name}")
        PASSES[cls.name] = cls()

    @abstractmethod
    def wanted(self, recipe: Recipe) -> bool:
        """Whether a recipe asks for it."""

    @abstractmethod
    def apply(self, model: "DeviceModel", recipe: Recipe) -> None:
        """Do it, to a model of its own."""


def passes() -> list[Pass]:
    """All passes in the order in which they are applied."""
    # Imported by name, so that a step that compresses is done again when one of them changes.
    from compression import clustering, dense_weights, pruning, table_storage

    modules = [module.__name__ for module in (pruning, clustering, dense_weights, table_storage)]
    return sorted(PASSES.values(), key=lambda each: modules.index(type(each).__module__))


def compressed(model: "DeviceModel", recipe: Recipe) -> "DeviceModel":
    """A trained model compressed by a recipe, without more training; the model itself stays as it is."""
    copy = model.copied(recipe)
    for each in passes():
        if each.wanted(recipe):
            each.apply(copy, recipe)
    return copy
