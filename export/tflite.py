"""TFLite: `model.tflite` for inference and `model.train.tflite` for on-device training, builtin ops only."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from contracts.bundle import TFLITE, TRAINABLE_TFLITE
from contracts.errors import BundleError
from export.durable import write_durably
from export.exporter import Exporter, Precision, kept_in, quiet

if TYPE_CHECKING:
    from compression.device_model import DeviceModel
    from compression.recipe import Activations, Storage
    from export.tflite_constants import Constant
    from export.tflite_storage import Form

SMALLEST_KERNEL = 1024  # elements of a dense layer's weights; what is smaller stays float32, there is nothing to win


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
    from export.tflite_storage import store_constants

    form, tables = _form(model, dense)
    stored = store_constants(data, form, activations)
    if not tables:
        raise BundleError("the converter changed the item table: install the versions that are pinned")
    return stored


def _form(model: "DeviceModel", dense: "Storage") -> "tuple[Form, list[np.ndarray]]":
    """How each constant is stored, and a list to which the item table is added whenever it is met."""
    from export.tflite_constants import of_floats, of_kernel, of_table

    table, tables = model.table.frozen(), []
    codes = table.codes if table.codes.dtype == np.int8 else table.codes.astype(np.float32)
    scales = None if table.row_scales is None else table.row_scales.astype(np.float32)
    adapter = [matrix for value in model.adapter_values().values() for matrix in (value, value.T)]

    def form(values: np.ndarray, is_kernel: bool) -> "Constant | None":
        if values.dtype == codes.dtype and np.array_equal(values, codes):
            tables.append(values)
            return of_table(table)
        if scales is not None and np.array_equal(values, scales):
            return of_floats(values, "float16")
        if not is_kernel or values.size < SMALLEST_KERNEL or dense == "float32":
            return None
        return None if any(np.array_equal(values, each) for each in adapter) else of_kernel(values, dense)

    return form, tables
