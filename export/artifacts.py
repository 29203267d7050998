"""All artifacts of the bundle. The converters are imported when one is asked for: they take seconds."""

from pathlib import Path
from typing import TYPE_CHECKING

from export.exporter import EXPORTERS, Exporter, Precision

if TYPE_CHECKING:
    from compression.device_model import DeviceModel


def exporters() -> dict[str, Exporter]:
    """Every exporter by its artifact's name, in a fixed order."""
    import export.core_ml
    import export.onnx_export
    import export.tflite  # noqa: F401

    return dict(sorted(EXPORTERS.items()))


def export_artifacts(model: "DeviceModel", folder: Path, precision: Precision) -> None:
    """Write every artifact into an existing folder, under its name in the bundle."""
    for artifact, exporter in exporters().items():
        exporter.export(model, folder / artifact, precision)
