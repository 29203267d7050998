"""TFLite: `model.tflite` for inference and `model.train.tflite` for on-device training, builtin ops only."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compression.grid import SMALLEST_KERNEL
from contracts.bundle import TFLITE, TRAINABLE_TFLITE
from contracts.errors import BundleError
from export.durable import write_durably
from export.exporter import Exporter, Precision, kept_in, quiet

if TYPE_CHECKING:
    from compression.device_model import DeviceModel
    from compression.item_table import StoredTable
    from compression.recipe import Activations, Storage
    from export.tflite_constants import Constant
    from export.tflite_storage import Form


class TfliteExporter(Exporter):
    """Inference; shipped, everything is stored as the model's recipe says."""

    artifact = TFLITE

    def export(self, model: "DeviceModel", path: Path, precision: Precision) -> None:
        recipe = model.recipe
        data = _convert(model, ("recommend",), precision)
        if precision == "shipped":
            data = _stored(data, model, recipe.dense, recipe.activations)
        write_durably(path, data)


class TrainableTfliteExporter(Exporter):
    """All four signatures; all but the table stays float32: get_weights returns every bit, and training is exact."""

    artifact = TRAINABLE_TFLITE

    def export(self, model: "DeviceModel", path: Path, precision: Precision) -> None:
        data = _convert(model, ("get_weights", "recommend", "set_weights", "train"), precision)
        if precision == "shipped":
            data = _stored(data, model, "float32", "float32")
        write_durably(path, data)


def _convert(model: "DeviceModel", names: tuple[str, ...], precision: Precision) -> bytes:
    """Not quantized; by way of a SavedModel, as from concrete functions the signatures would have no names."""
    import tensorflow as tf

    frozen = model.frozen(kept_in(precision))
    with tempfile.TemporaryDirectory() as folder, quiet():
        tf.saved_model.save(frozen, folder, signatures=frozen.signatures(names))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(names))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.experimental_enable_resource_variables = "set_weights" in names
        return converter.convert()


def _stored(data: bytes, model: "DeviceModel", dense: "Storage", activations: "Activations") -> bytes:
    """A converted model with the item table and its dense layers' weights as they ship.

    Raises:
        BundleError: if the converted model does not hold the item table.
    """
    from compression.item_table import StoredTable
    from export.tflite_storage import store_constants

    table, kernels, met = model.table.frozen(), _kernels(model, dense), False
    if not isinstance(table, StoredTable):  # item codes are integers of the graph itself
        return store_constants(data, kernels, activations)
    tables = _tables(table)

    def form(values: np.ndarray, is_kernel: bool) -> "Constant | None":
        nonlocal met
        found = tables(values, is_kernel)
        met |= found is not None
        return found or kernels(values, is_kernel)

    stored = store_constants(data, form, activations)
    if not met:
        raise BundleError("the converter changed the item table: install the versions that are pinned")
    return stored


def _tables(table: "StoredTable") -> "Form":
    """How the item table and its scales are stored."""
    from export.tflite_constants import of_item_scales, of_table

    codes = table.codes if table.codes.dtype == np.int8 else table.codes.astype(np.float32)
    scales = table.row_scales

    def form(values: np.ndarray, is_kernel: bool) -> "Constant | None":
        if values.dtype == codes.dtype and np.array_equal(values, codes):
            return of_table(table)
        if scales is not None and np.array_equal(values, scales.astype(np.float32)):
            return of_item_scales(scales)
        return None

    return form


def _kernels(model: "DeviceModel", dense: "Storage") -> "Form":
    """How the weights of dense layers are stored, but for the adapter's."""
    from export.tflite_constants import of_kernel

    adapter = [matrix for value in model.adapter_values().values() for matrix in (value, value.T)]

    def form(values: np.ndarray, is_kernel: bool) -> "Constant | None":
        if not is_kernel or values.size < SMALLEST_KERNEL or dense == "float32":
            return None
        return None if any(np.array_equal(values, each) for each in adapter) else of_kernel(values, dense)

    return form
