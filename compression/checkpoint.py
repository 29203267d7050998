"""A finished device model on disk: its shapes as JSON, its integers and floats as one npz.

The same model gives the same bytes.
"""

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from compression.recipe import Recipe, parse_recipe
from contracts.errors import RunError

if TYPE_CHECKING:
    from compression.device_model import DeviceModel
    from compression.inverted_lists import FrozenCodes
    from compression.item_table import FrozenTable
    from compression.successors import Successors

SPEC, WEIGHTS = "device_model.json", "device_model.npz"
ROW_SCALES, ORDER = "table_scales", "order"
FORMAT_VERSION = 2


class SavedSpec(msgspec.Struct, frozen=True, kw_only=True):
    format_version: int = FORMAT_VERSION
    spec: dict
    scale: float  # of an int8 item table or of the centres of item codes, else 1
    slots: int = 0  # items of a list of item codes
    recipe: str
    model_version: str  # sha256 over every weight


def _arrays(model: "DeviceModel") -> dict[str, np.ndarray]:
    from compression.item_codes import StoredCodes

    stored = model.table.frozen()
    arrays: dict[str, np.ndarray]
    if isinstance(stored, StoredCodes):
        arrays = {"codes": stored.codes, "books": stored.books, "centres": stored.centres}
        if stored.order is not None:
            arrays[ORDER] = stored.order.astype(np.int32)
    else:
        arrays = {"table": stored.codes}
        if stored.row_scales is not None:
            arrays[ROW_SCALES] = stored.row_scales
    for encoder in (model.token_encoder, model.query_encoder):
        arrays |= {f"{encoder.name}/{number:02d}": value for number, value in enumerate(encoder.get_weights())}
    if model.successors is not None:
        arrays |= {f"successors/{name}": np.asarray(value) for name, value in vars(model.successors).items()}
    return arrays | {f"adapter/{name}": value for name, value in model.adapter_values().items()}


def model_version(arrays: dict[str, np.ndarray], scale: float) -> str:
    """sha256 over names, shapes and bytes of all weights."""
    digest = hashlib.sha256(repr(float(np.float32(scale))).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name}:{array.dtype}:{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An npz without time stamps: `numpy.savez` would stamp every member."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(arrays[name], order="C"), allow_pickle=False)


def save_device_model(model: "DeviceModel", folder: Path, recipe: str) -> str:
    """Write the model into an existing folder.

    Args:
        model: trained; its table is frozen to what is stored on the way.
        folder: where `SPEC` and `WEIGHTS` go.
        recipe: a name that decodes, such as `prune50_dynamic_wi8_afp32`.

    Returns:
        The model's version.
    """
    from compression.item_codes import StoredCodes

    arrays, stored = _arrays(model), model.table.frozen()
    version = model_version(arrays, stored.scale)
    saved = SavedSpec(
        spec=msgspec.to_builtins(model.spec),
        scale=stored.scale,
        slots=stored.slots if isinstance(stored, StoredCodes) else 0,
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

    saved = load_saved_spec(folder)
    try:
        spec = msgspec.convert(saved.spec, DeviceModelSpec)
    except msgspec.ValidationError as error:
        raise RunError(f"{folder / SPEC} describes no device model ({error}): compress again") from None
    arrays = _read_npz(folder / WEIGHTS)
    if model_version(arrays, saved.scale) != saved.model_version:
        raise RunError(f"{folder / WEIGHTS} holds other weights than {SPEC} names: compress again")
    encoders = (build_token_encoder(spec), build_query_encoder(spec))
    for encoder in encoders:
        encoder.set_weights([arrays[name] for name in sorted(arrays) if name.startswith(f"{encoder.name}/")])
    adapter, successors = (_under(arrays, prefix) for prefix in ("adapter/", "successors/"))
    recipe = parse_recipe(saved.recipe)
    return DeviceModel(
        spec,
        _table_of(saved, recipe, arrays),
        *encoders,
        adapter,
        recipe,
        _successors_of(successors) if successors else None,
    )


def _successors_of(arrays: dict[str, np.ndarray]) -> "Successors":
    from compression.successors import Successors

    return Successors(arrays["items"], arrays["shares"], np.float32(arrays["heed"]))


def _under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Those arrays whose names start so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def load_item_order(folder: Path) -> NDArray[np.int64] | None:
    """The log's number of each of a model's items, int64 [items + 1]; None where the model numbers them alike.

    Raises:
        RunError: if the folder holds no device model that can be read.
    """
    if not load_saved_spec(folder).slots:
        return None
    order = _read_npz(folder / WEIGHTS, (ORDER,)).get(ORDER)
    return None if order is None else order.astype(np.int64)


def _read_npz(path: Path, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as archive:
            return {name: archive[name] for name in archive.files if names is None or name in names}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} cannot be read ({error}): compress again") from None


def _table_of(saved: SavedSpec, recipe: Recipe, arrays: dict[str, np.ndarray]) -> "FrozenTable | FrozenCodes":
    from compression.inverted_lists import FrozenCodes
    from compression.item_codes import StoredCodes
    from compression.item_table import FrozenTable, StoredTable

    if saved.slots:
        order = arrays[ORDER].astype(np.int64) if ORDER in arrays else None
        codes = StoredCodes(arrays["codes"], arrays["books"], arrays["centres"], saved.scale, saved.slots, order)
        return FrozenCodes(codes, "shipped")
    return FrozenTable(StoredTable(arrays["table"], saved.scale, recipe.table, arrays.get(ROW_SCALES)), "shipped")
