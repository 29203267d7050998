"""Core ML: `model.mlpackage`, canonical, because coremltools stamps a package with random UUIDs and the day's date.

Outputs are `export.exporter.OUTPUT_NAMES`. Computation is float32: the model is too small for the Neural Engine to pay.
"""

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compression.grid import SMALLEST_KERNEL
from contracts.bundle import CORE_ML
from export.durable import sync_folder, write_durably
from export.exporter import OUTPUT_NAMES, Exporter, Precision, quiet

if TYPE_CHECKING:
    from compression.device_model import DeviceModel

MODEL_FILE = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS_FOLDER = "Data/com.apple.CoreML/weights"
_DATE = "com.github.apple.coremltools.conversion_date"


class CoreMlExporter(Exporter):
    """Inference; shipped, what the recipe stores as integers is so here where the format can: an int8 table and int8
    dense weights by their scales, an int4 table by a palette; the device expands them when it loads. The rest is
    float32.
    """

    artifact = CORE_ML

    def export(self, model: "DeviceModel", path: Path, precision: Precision) -> None:
        with quiet():
            import coremltools as ct

        frozen = model.frozen("float32")  # int8 comes below: an int8 table would be stored twice, once as float32
        function = frozen.signatures(["recommend"])["recommend"]
        with quiet():
            package = ct.convert(
                [function],
                source="tensorflow",
                minimum_deployment_target=ct.target.iOS17,
                compute_precision=ct.precision.FLOAT32,
                skip_model_load=True,
            )
            if precision == "shipped":
                package = _quantized(package, frozen)
            package.save(str(path))
        _rewrite_model(
            path / MODEL_FILE, {function.structured_outputs[old].op.name: new for old, new in OUTPUT_NAMES.items()}
        )
        _rewrite_manifest(path / "Manifest.json")
        for folder in (path, *(each for each in path.rglob("*") if each.is_dir())):
            sync_folder(folder)


def _quantized(package: Any, model: "DeviceModel") -> Any:
    """The table, whose values are its integers, and the dense weights per column."""
    import coremltools.optimize.coreml as cto

    from compression.item_table import StoredTable

    table = model.table.frozen()
    kernels = [
        weight
        for encoder in (model.token_encoder, model.query_encoder)
        for weight in encoder.get_weights()
        if weight.ndim == 2 and weight.size >= SMALLEST_KERNEL
    ]
    options = {"mode": "linear_symmetric", "weight_threshold": 0}
    chosen, palettes = {}, {}
    # coremltools 9.0's get_weights_metadata would say the same, but raises where an operation takes a list.
    for const in package._mil_program.functions["main"].find_ops(op_type="const"):
        if isinstance(table, StoredTable) and np.array_equal(const.outputs[0].val, table.codes):
            if table.storage == "int8":
                chosen[const.name] = cto.OpLinearQuantizerConfig(granularity="per_tensor", **options)
            elif table.storage == "int4":
                palettes[const.name] = cto.OpPalettizerConfig(mode="unique", weight_threshold=0)
        elif model.recipe.dense == "int8" and any(np.array_equal(const.outputs[0].val, kernel) for kernel in kernels):
            chosen[const.name] = cto.OpLinearQuantizerConfig(granularity="per_channel", **options)
    if palettes:
        package = cto.palettize_weights(package, cto.OptimizationConfig(op_name_configs=palettes))
    return cto.linear_quantize_weights(package, cto.OptimizationConfig(op_name_configs=chosen)) if chosen else package


def _rewrite_model(path: Path, outputs: dict[str, str]) -> None:
    """Name the outputs, drop the date, and put maps in order."""
    import coremltools as ct

    spec = ct.utils.load_spec(str(path))
    for old, new in outputs.items():
        ct.utils.rename_feature(spec, old, new, rename_inputs=False)
    spec.description.metadata.userDefined.pop(_DATE, None)
    write_durably(path, spec.SerializeToString(deterministic=True))


def _rewrite_manifest(path: Path) -> None:
    """Identify the package's entries by their paths instead of at random."""
    manifest = json.loads(path.read_bytes())
    entries = manifest["itemInfoEntries"]
    fixed = {old: str(uuid.uuid5(uuid.NAMESPACE_URL, entry["path"])) for old, entry in entries.items()}
    manifest["itemInfoEntries"] = {fixed[old]: entry for old, entry in entries.items()}
    manifest["rootModelIdentifier"] = fixed[manifest["rootModelIdentifier"]]
    write_durably(path, json.dumps(manifest, indent=4, sort_keys=True).encode())
