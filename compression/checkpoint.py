"""A finished device model on disk: its shapes as JSON, its integers and floats as one npz.

The same model gives the same bytes.
"""

import hashlib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from compression.recipe import parse_recipe
from contracts.errors import ConfigError, RunError

if TYPE_CHECKING:
    from compression.device_model import DeviceModel

SPEC, WEIGHTS = "device_model.json", "device_model.npz"
ROW_SCALES = "table_scales"
FORMAT_VERSION = 1


class SavedSpec(msgspec.Struct, frozen=True, kw_only=True):
    format_version: int = FORMAT_VERSION
    spec: dict
    scale: float  # of an int8 item table, else 1
    recipe: str
    model_version: str  # sha256 over every weight


def _arrays(model: "DeviceModel") -> dict[str, np.ndarray]:
    from compression.item_table import StoredTable

    stored = model.table.frozen()
    if not isinstance(stored, StoredTable):
        raise ConfigError("a model over item codes cannot be saved yet: distil it over a table")
    arrays: dict[str, np.ndarray] = {"table": stored.codes}
    if stored.row_scales is not None:
        arrays[ROW_SCALES] = stored.row_scales
    for encoder in (model.token_encoder, model.query_encoder):
        arrays |= {f"{encoder.name}/{number:02d}": value for number, value in enumerate(encoder.get_weights())}
    return arrays | {f"adapter/{name}": value for name, value in model.adapter_values().items()}


def model_version(arrays: dict[str, np.ndarray], scale: float) -> str:
    """sha256 over names, shapes and bytes of all weights."""
    digest = hashlib.sha256(repr(float(np.float32(scale))).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}:{array.dtype}:{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An npz without time stamps: `numpy.savez` would stamp every member."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), allow_pickle=False)


def save_device_model(model: "DeviceModel", folder: Path, recipe: str) -> str:
    """Write the model into an existing folder.

    Args:
        model: trained; its table is frozen to what is stored on the way.
        folder: where `SPEC` and `WEIGHTS` go.
        recipe: a name that decodes, such as `prune50_dynamic_wi8_afp32`.

    Returns:
        The model's version.
    """
    arrays, stored = _arrays(model), model.table.frozen()
    version = model_version(arrays, stored.scale)
    saved = SavedSpec(
        spec=msgspec.to_builtins(model.spec),
        scale=stored.scale,
        recipe=recipe,
        model_version=version,
    )
    _write_npz(folder / WEIGHTS, arrays)
    (folder / SPEC).write_bytes(msgspec.json.format(msgspec.json.encode(saved), indent=2))
    return version


def load_saved_spec(folder: Path) -> SavedSpec:
    """The model's record, without TensorFlow.

    Raises:
        RunError: if the folder holds no device model, or one of another format.
    """
    try:
        saved = msgspec.json.decode((folder / SPEC).read_bytes(), type=SavedSpec)
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{folder} holds no device model ({error}): run `pocketrec compress` first") from None
    if saved.format_version != FORMAT_VERSION:
        raise RunError(
            f"{folder} holds a device model of format {saved.format_version}, {FORMAT_VERSION} is read: compress again"
        )
    return saved


def load_device_model(folder: Path) -> "DeviceModel":
    """The model as saved, over its table as it is stored.

    Raises:
        RunError: if the folder holds no device model, one of another format, or one whose weights are not those
            recorded.
    """
    from compression.device_model import DeviceModel, DeviceModelSpec, build_query_encoder, build_token_encoder
    from compression.item_table import FrozenTable, StoredTable

    saved = load_saved_spec(folder)
    try:
        spec = msgspec.convert(saved.spec, DeviceModelSpec)
    except msgspec.ValidationError as error:
        raise RunError(f"{folder / SPEC} describes no device model ({error}): compress again") from None
    try:
        with np.load(folder / WEIGHTS) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RunError(f"{folder / WEIGHTS} cannot be read ({error}): compress again") from None
    if model_version(arrays, saved.scale) != saved.model_version:
        raise RunError(f"{folder / WEIGHTS} holds other weights than {SPEC} names: compress again")
    encoders = (build_token_encoder(spec), build_query_encoder(spec))
    for encoder in encoders:
        encoder.set_weights([arrays[name] for name in sorted(arrays) if name.startswith(f"{encoder.name}/")])
    adapter = {name.partition("/")[2]: value for name, value in arrays.items() if name.startswith("adapter/")}
    recipe = parse_recipe(saved.recipe)
    table = StoredTable(arrays["table"], saved.scale, recipe.table, arrays.get(ROW_SCALES))
    return DeviceModel(spec, FrozenTable(table, "shipped"), *encoders, adapter, recipe)
