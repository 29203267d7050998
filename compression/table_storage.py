"""The item table as it is stored: the pass that freezes it."""

from typing import TYPE_CHECKING

from compression.compression_pass import Pass
from compression.item_table import FrozenTable, StoredTable, TrainableTable, store
from compression.recipe import Recipe

if TYPE_CHECKING:
    from compression.device_model import DeviceModel


class StoreTable(Pass):
    """Freezes the table on the grid that it was trained on, or on the best one of another storage."""

    name = "table storage"

    def wanted(self, recipe: Recipe) -> bool:
        return True

    def apply(self, model: "DeviceModel", recipe: Recipe) -> None:
        stored = model.table.frozen()
        if not isinstance(stored, StoredTable) or stored.storage == recipe.table:  # codes are stored as they are
            model.table = model.frozen("shipped").table
            return
        values = model.table.values.numpy() if isinstance(model.table, TrainableTable) else stored.values()
        model.table = FrozenTable(store(values, recipe.table), "shipped")
