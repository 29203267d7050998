"""A device model on disk: the same bytes for the same model, whole again when read, and no other than recorded."""

import re
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from compression.checkpoint import SPEC, WEIGHTS, load_device_model, load_saved_spec, model_version, save_device_model
from compression.device_model import DeviceModel
from contracts.errors import RunError


@pytest.fixture
def saved(model: DeviceModel, tmp_path: Path) -> Path:
    save_device_model(model, tmp_path, "prune50_dynamic_wi8_afp32")
    return tmp_path


def test_what_is_read_is_what_was_saved(model: DeviceModel, saved: Path) -> None:
    read = load_device_model(saved)
    assert read.spec == model.spec
    assert np.array_equal(read.table.frozen()[0], model.table.frozen()[0])
    assert read.table.frozen()[1] == np.float32(model.table.frozen()[1])
    for name, value in model.adapter_values().items():
        assert read.adapter_values()[name].tobytes() == value.tobytes()
    for encoder in ("token_encoder", "query_encoder"):
        for ours, theirs in zip(
            getattr(model, encoder).get_weights(), getattr(read, encoder).get_weights(), strict=True
        ):
            assert ours.tobytes() == theirs.tobytes()


def test_saving_what_was_read_gives_the_same_bytes_and_version(model: DeviceModel, saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    version = save_device_model(load_device_model(saved), again, "prune50_dynamic_wi8_afp32")
    assert version == load_saved_spec(saved).model_version
    for name in (SPEC, WEIGHTS):
        assert (again / name).read_bytes() == (saved / name).read_bytes()


def test_no_member_carries_a_time_stamp(saved: Path) -> None:
    with zipfile.ZipFile(saved / WEIGHTS) as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_the_record_is_read_without_the_weights(saved: Path) -> None:
    (saved / WEIGHTS).unlink()
    assert load_saved_spec(saved).recipe == "prune50_dynamic_wi8_afp32"
    with pytest.raises(RunError, match="cannot be read"):
        load_device_model(saved)


def test_the_version_depends_on_every_weight_and_on_the_scale(model: DeviceModel) -> None:
    arrays = {"table": model.table.frozen()[0], "adapter/popularity": model.adapter_values()["popularity"]}
    version = model_version(arrays, 0.5)
    assert re.fullmatch("[0-9a-f]{64}", version)
    assert version == model_version(dict(reversed(arrays.items())), 0.5)
    assert version != model_version(arrays, 0.25)
    for name in arrays:
        changed = arrays | {name: arrays[name].copy()}
        changed[name].flat[-1] += 1
        assert model_version(changed, 0.5) != version
    assert model_version(arrays | {"table": arrays["table"].T.copy()}, 0.5) != version


def test_other_weights_than_recorded_are_refused(model: DeviceModel, saved: Path, tmp_path: Path) -> None:
    data = bytearray((saved / WEIGHTS).read_bytes())
    codes = model.table.frozen()[0].tobytes()
    data[data.find(codes) + 5] ^= 1
    (saved / WEIGHTS).write_bytes(data)
    with pytest.raises(RunError, match="compress again"):
        load_device_model(saved)


def test_another_model_s_weights_are_refused(model: DeviceModel, saved: Path, make: dict, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    save_device_model(make["model"](make["spec"](), seed=99), other, "other")
    (other / WEIGHTS).replace(saved / WEIGHTS)
    with pytest.raises(RunError, match="holds other weights than"):
        load_device_model(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: b"no json", "holds no device model"),
        (lambda record: msgspec.json.encode(record | {"format_version": 9}), "format 9, 2 is read: compress again"),
        (lambda record: msgspec.json.encode({"format_version": 2}), "holds no device model"),
        (lambda record: msgspec.json.encode(record | {"spec": {"items": "many"}}), "describes no device model"),
    ],
)
def test_a_record_that_cannot_be_used_is_refused_in_one_line(saved: Path, change, message) -> None:
    record = msgspec.json.decode((saved / SPEC).read_bytes())
    (saved / SPEC).write_bytes(change(record))
    with pytest.raises(RunError, match=message) as caught:
        load_device_model(saved)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="run `pocketrec compress` first"):
        load_saved_spec(tmp_path)
