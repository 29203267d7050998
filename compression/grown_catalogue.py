"""A finished device model over a catalogue that has grown: items it never saw start from what is known of them."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compression.device_model import DeviceModel
from compression.grid import LEVELS
from compression.item_codes import StoredCodes
from compression.item_table import FrozenTable, StoredTable, int4_item_scales, quantize
from contracts.errors import ConfigError, RunError
from training.cold_items import grown_rows
from training.prepared import Items

POPULARITY = -2  # its column of a device table


def grown_model(model: DeviceModel, known: NDArray[np.int64], items: Items) -> DeviceModel:
    """The model over another catalogue: the same weights, and of each known item the same stored numbers.

    Args:
        model: finished, over a table.
        known: int64 [items + 1], each item's index in the model's catalogue, see `training.cold_items.match_items`.
        items: the other catalogue.

    Raises:
        ConfigError: if the model's items are codes, which are trained together.
        RunError: if it knows no item of the other catalogue.
    """
    stored = model.table.frozen()
    if isinstance(stored, StoredCodes):
        raise ConfigError(
            "a model over item codes takes no new items: its codes are trained together; run `pocketrec compress` again"
        )
    if not known.any():
        raise RunError(
            f"the model knows none of the {len(known) - 1:,} items of this catalogue: name a run of the same shop"
        )
    number = len(known) - 1
    spec = replace(model.spec, items=number, candidates=min(model.spec.candidates, number))
    return DeviceModel(
        spec,
        FrozenTable(_grown_table(stored, known, items), "shipped"),
        model.token_encoder,
        model.query_encoder,
        model.adapter_values(),
        model.recipe,
    )


def _grown_table(stored: StoredTable, known: NDArray[np.int64], items: Items) -> StoredTable:
    """New items on the grid of the known ones, which keep their numbers."""
    rows = grown_rows(stored.values(), known, items, unforeseen=(POPULARITY,))
    old = np.flatnonzero(known)
    scales = None
    if stored.storage == "int8":
        codes = quantize(rows, stored.scale)
    elif stored.row_scales is not None:
        scales = int4_item_scales(rows, float(stored.row_scales.max()))
        scales[old] = stored.row_scales[known[old]]
        codes = quantize(rows, scales.astype(np.float32)[:, None], LEVELS["int4"])
    else:
        codes = rows.astype(stored.storage)
    codes[old] = stored.codes[known[old]]
    return StoredTable(codes, stored.scale, stored.storage, scales)
