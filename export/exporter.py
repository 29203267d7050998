"""What every exporter is: one artifact of the bundle, converted from the one device model."""

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from contracts.errors import ConfigError

if TYPE_CHECKING:
    from compression.device_model import DeviceModel
    from compression.item_table import Kept

Precision = Literal["fp32", "shipped"]
"""fp32: every weight a float32, for parity. shipped: what the bundle holds, stored as the recipe says."""

OUTPUT_NAMES = {"items": "top_items", "scores": "top_scores"}
"""Outputs of `recommend` in ONNX and Core ML, where an output may not have an input's name, as `items` would."""

EXPORTERS: dict[str, "Exporter"] = {}
"""Those defined so far, by artifact; `export.artifacts` has all of them."""


class Exporter(ABC):
    """Converts a device model to one file (or folder) of the bundle; registers itself by being defined."""

    artifact: ClassVar[str]  # its name in the bundle

    def __init_subclass__(cls) -> None:
        if cls.artifact in EXPORTERS:
            raise ConfigError(f"{cls.__name__} and {type(EXPORTERS[cls.artifact]).__name__} both write {cls.artifact}")
        EXPORTERS[cls.artifact] = cls()

    @abstractmethod
    def export(self, model: "DeviceModel", path: Path, precision: Precision) -> None:
        """Write the artifact; the same weights give the same bytes, in any process.

        Args:
            model: trained or frozen; what is exported is its table as it is stored.
            path: of the artifact; its folder exists, it does not.
            precision: see `Precision`.
        """


def kept_in(precision: Precision) -> "Kept":
    """How the item table is kept in the graph that is converted."""
    return "shipped" if precision == "shipped" else "float32"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps converters' progress bars and notices off standard error; what goes wrong is raised."""
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield
