"""Source code that an app's build takes in: the manifest's constants, and the model behind one call."""

from pathlib import Path

from contracts.bundle import Manifest
from export.durable import write_durably
from export.exporter import OUTPUT_NAMES
from export.templates import render

FOLDER = "bindings"
SOURCES = ("PocketrecModel.kt", "PocketrecModel.swift")


def write_bindings(folder: Path, manifest: Manifest) -> None:
    """Write the Kotlin source, for model.tflite, and the Swift source, for model.mlpackage.

    Core ML's outputs are `export.exporter.OUTPUT_NAMES`, as an output may not be named like an input there.
    """
    for name in SOURCES:
        write_durably(folder / name, render(name, manifest=manifest, outputs=OUTPUT_NAMES).encode())
