"""A tiny device model whose weights lie on their int8 grid, and what its bundle is made of.

Run as a program, `python tiny_bundle.py <folder>`, it is the other process whose bytes must be the same.
"""

import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from compression.device_model import DeviceModel, DeviceModelSpec
from contracts.bundle import (
    ONNX,
    TFLITE,
    WISH,
    WISHES,
    ArtifactQuality,
    ContextField,
    Estimate,
    PrivacyStatement,
    Provenance,
)
from export.artifacts import export_artifacts
from export.bundle import BundleInputs, build_bundle
from export.catalogue import EVERYONE, CatalogueContents, CatalogueItem

ITEMS, LENGTH, CANDIDATES = 500, 16, 20
SPEC = DeviceModelSpec(
    items=ITEMS,
    history_length=LENGTH,
    candidates=CANDIDATES,
    train_targets=4,
    train_negatives=32,
    context=(
        ContextField("hour_of_week", 169, {str(hour): hour + 1 for hour in range(168)}),
        ContextField("segment", 3, {'late "$night"\n': 1, "early": 2}),
        ContextField(WISH, len(WISHES) + 1, WISHES),
    ),
)


def on_grid(kernel: np.ndarray) -> np.ndarray:
    """The nearest points of a symmetric int8 grid with one scale per column, as float32."""
    scale = np.abs(kernel).max(axis=0) / 127
    return (np.rint(kernel / scale) * scale).astype(np.float32)


def tiny_model() -> DeviceModel:
    rng = np.random.default_rng(3)
    table = rng.normal(0.0, 0.2, (ITEMS + 1, SPEC.width)).astype(np.float32)
    table[0] = 0
    model = DeviceModel.create(SPEC, table, seed=3)
    for encoder in (model.token_encoder, model.query_encoder):
        encoder.set_weights([on_grid(weight) if weight.ndim == 2 else weight for weight in encoder.get_weights()])
    for variable in model.adapter.values():
        variable.assign(rng.normal(0.0, 0.2, variable.shape))
    return model


def quality(evaluator: str, value: float) -> ArtifactQuality:
    return ArtifactQuality(evaluator, Estimate(value, value - 0.01, value + 0.01), Estimate(0.02, 0.015, 0.025))


def bundle_inputs(model: DeviceModel, artifacts: Path, version: int = 1) -> BundleInputs:
    return BundleInputs(
        project="tiny",
        bundle_version=version,
        model=model,
        model_version="ab" * 32,
        artifacts=artifacts,
        catalogue=CatalogueContents(
            [CatalogueItem(item_id=f"item-{n}", category="c", price_minor=n) for n in range(1, ITEMS + 1)],
            {EVERYONE: range(1, CANDIDATES + 1), "early": range(2, CANDIDATES)},
            "USD",
        ),
        quality={TFLITE: quality("LiteRT", 0.2235), ONNX: quality("ONNX Runtime", 0.2236)},
        teacher=quality("PyTorch", 0.2246),
        task="the next basket, from what was known strictly before it",
        baselines={"popularity": quality("NumPy", 0.0917)},
        recipe="prune50_dynamic_wi8_afp32",
        origin='One author: "simulated <data>". The other: "transactions".',
        provenance=Provenance(data_sha256="0" * 64, config_sha256="1" * 64, packages={"tensorflow": "2.21.0"}),
        privacy=PrivacyStatement(base_model="outside the guarantee", statistics="outside the guarantee"),
        seed=7,
    )


if __name__ == "__main__":
    folder, model = Path(sys.argv[1]), tiny_model()
    (folder / "shipped").mkdir()
    export_artifacts(model, folder / "shipped", "shipped")
    build_bundle(bundle_inputs(model, folder / "shipped"), folder / "bundle")
