"""How a device model is compressed."""

from dataclasses import dataclass
from typing import Literal, get_args

Storage = Literal["int4", "int8", "float16", "float32"]
STORAGES: tuple[Storage, ...] = get_args(Storage)
Activations = Literal["float32", "int8"]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what becomes of a trained model.

    Attributes:
        sparsity: share of the dense layers' weights that are pruned, 0 prunes none.
        dense: storage of the dense layers' weights.
        table: storage of the item table.
        activations: what layers over integers multiply them with: float32, or int8 to which the runtime rounds.
    """

    sparsity: float = 0.5
    dense: Storage = "int8"
    table: Storage = "int8"
    activations: Activations = "int8"
