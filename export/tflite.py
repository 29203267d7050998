"""TFLite: `model.tflite` for inference and `model.train.tflite` for on-device training, builtin ops only."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.bundle import TFLITE, TRAINABLE_TFLITE
from export.durable import write_durably
from export.exporter import Exporter, Precision, quiet, storage_of

if TYPE_CHECKING:
    from compression.device_model import DeviceModel


class TfliteExporter(Exporter):
    """Inference; shipped, the dense weights are int8 by dynamic range (`dynamic_wi8_afp32`)."""

    artifact = TFLITE

    def export(self, model: "DeviceModel", path: Path, precision: Precision) -> None:
        data = _convert(model.frozen(storage_of(precision)), ("recommend",), quantize=precision == "shipped")
        write_durably(path, data)


class TrainableTfliteExporter(Exporter):
    """All four signatures; the adapter and the dense weights stay float32, so that get_weights returns every bit."""

    artifact = TRAINABLE_TFLITE

    def export(self, model: "DeviceModel", path: Path, precision: Precision) -> None:
        names = ("get_weights", "recommend", "set_weights", "train")
        write_durably(path, _convert(model.frozen(storage_of(precision)), names, quantize=False))


def _convert(model: "DeviceModel", names: tuple[str, ...], *, quantize: bool) -> bytes:
    """Convert by way of a SavedModel, which names the signatures; from concrete functions they would have none."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, quiet():
        tf.saved_model.save(model, folder, signatures=model.signatures(names))
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(names))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.experimental_enable_resource_variables = "set_weights" in names
        if quantize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return converter.convert()
