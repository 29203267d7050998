"""What may be done to a trained device model without training: each such pass is a file of its own.

A pass registers itself by being defined; see `compression.passes` for those that are.
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
