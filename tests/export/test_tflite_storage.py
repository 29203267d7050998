"""Every storage that a recipe may name: stored once, in the size it promises, and the device model's answers."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compression.device_model import DeviceModel
from compression.item_table import FrozenTable, store
from compression.recipe import STORAGES, Recipe
from contracts.bundle import CORE_ML, ONNX, TFLITE, TRAINABLE_TFLITE
from export.artifacts import exporters
from export.parity import measure_parity
from export.runtimes import open_evaluator
from export.tflite_constants import of_item_scales, of_kernel, packed

TYPES = {
    "int4": schema.TensorType.INT4,
    "int8": schema.TensorType.INT8,
    "float16": schema.TensorType.FLOAT16,
    "float32": schema.TensorType.FLOAT32,
}
BYTES_OF_WIDTH = {"int4": 0.5, "int8": 1.0, "float16": 2.0, "float32": 4.0}


@pytest.fixture(scope="module")
def stored(model):
    """Makes the tiny model over a table and dense weights of other storages."""

    def make(**recipe) -> DeviceModel:
        chosen = Recipe(**recipe)
        table = FrozenTable(store(model.table.values.numpy(), chosen.table), "shipped")
        return DeviceModel(model.spec, table, model.token_encoder, model.query_encoder, model.adapter_values(), chosen)

    return make


def constants(path: Path) -> list[tuple[int, tuple[int, ...], int]]:
    """Type, shape and bytes of every large constant of a TFLite file, each once."""
    model = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()), 0)
    found = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is not None and tensor.type != schema.TensorType.INT32 and np.prod(tensor.shape) >= 1024:
                found[tensor.buffer] = (tensor.type, tuple(tensor.shape.tolist()), len(data))
    return list(found.values())


@pytest.mark.parametrize("artifact", [TFLITE, TRAINABLE_TFLITE])
@pytest.mark.parametrize(
    ("table", "activations"), [*product(["int4", "int8"], ["int8", "float32"]), ("float16", "int8")]
)
def test_the_table_is_stored_once_and_ranks_as_the_model(
    table: str, activations: str, artifact: str, stored, feeds, tmp_path: Path
) -> None:
    model = stored(table=table, activations=activations)
    path = tmp_path / artifact
    exporters()[artifact].export(model, path, "shipped")
    shape = (model.spec.items + 1, model.spec.width)
    tables = [each for each in constants(path) if each[1] == shape]
    assert tables == [(TYPES[table], shape, int(np.prod(shape) * BYTES_OF_WIDTH[table]))]
    found = measure_parity(model, feeds, {}, {artifact: open_evaluator(path)}).shipped[artifact]
    exact = activations == "float32" or artifact == TRAINABLE_TFLITE
    assert found.max_abs_score_error < (1e-5 if exact else 0.1)
    assert found.top_10_overlap >= (1.0 if exact else 0.9)


def test_scales_of_an_int4_table_s_items_take_a_byte_each(stored, tmp_path: Path) -> None:
    model = stored(table="int4")
    exporters()[TFLITE].export(model, tmp_path / TFLITE, "shipped")
    read = schema.ModelT.InitFromPackedBuf(bytearray((tmp_path / TFLITE).read_bytes()), 0)
    rows = [each for graph in read.subgraphs for each in graph.tensors if tuple(each.shape) == (model.spec.items + 1,)]
    (scales,) = [each for each in rows if each.type == schema.TensorType.INT8]
    codes = np.frombuffer(bytes(read.buffers[scales.buffer].data), np.int8)
    assert np.array_equal(codes * scales.quantization.scale, model.table.stored.row_scales.astype(np.float32))


@given(step=st.integers(-12, 3), codes=arrays(np.int8, 9, elements=st.integers(1, 127)))
def test_scales_are_stored_as_they_are(step: int, codes: np.ndarray) -> None:
    scales = (codes * 2.0**step).astype(np.float16)
    stored = of_item_scales(scales)
    assert np.array_equal(stored.data.view(np.int8) * stored.scales, scales.astype(np.float32))


@pytest.mark.parametrize("dense", STORAGES)
def test_dense_weights_are_stored_as_the_recipe_says(dense: str, stored, tmp_path: Path) -> None:
    path = tmp_path / TFLITE
    exporters()[TFLITE].export(stored(dense=dense), path, "shipped")
    kernels = [each for each in constants(path) if each[1][0] != 501]
    assert len(kernels) == 6
    for kind, shape, size in kernels:
        assert (kind, size) == (TYPES[dense], int(np.prod(shape) * BYTES_OF_WIDTH[dense]))


def test_what_is_equal_or_empty_is_written_once(stored, tmp_path: Path) -> None:
    path = tmp_path / TFLITE
    exporters()[TFLITE].export(stored(), path, "shipped")
    data = path.read_bytes()
    model, view = schema.ModelT.InitFromPackedBuf(bytearray(data), 0), schema.Model.GetRootAs(data)
    assert all(buffer.data is not None for buffer in model.buffers[1:])
    graph = view.Subgraphs(0)
    tensors = [graph.Tensors(number) for number in range(graph.TensorsLength())]
    places: dict[tuple[int, ...], set[int]] = {}
    for tensor in tensors:
        if tensor.ShapeLength():
            table = tensor._tab
            places.setdefault(tuple(tensor.ShapeAsNumpy().tolist()), set()).add(table.Vector(table.Offset(4)))
    assert len(places) > 1
    assert all(len(each) == 1 for each in places.values())
    for number in range(1, view.BuffersLength()):
        table = view.Buffers(number)._tab
        assert table.Vector(table.Offset(4)) % 16 == 0, "a runtime reads it where the file is mapped"


@pytest.mark.parametrize(("artifact", "table"), product([ONNX, CORE_ML], STORAGES))
def test_other_artifacts_answer_as_the_model(artifact: str, table: str, stored, feeds, tmp_path: Path) -> None:
    model = stored(table=table)
    exporters()[artifact].export(model, tmp_path / artifact, "shipped")
    found = measure_parity(model, feeds[::4], {}, {artifact: open_evaluator(tmp_path / artifact)}).shipped[artifact]
    assert (found.top_10_overlap, found.max_abs_score_error < 1e-5) == (1.0, True)


@pytest.mark.parametrize("table", STORAGES)
def test_onnx_holds_the_table_once(table: str, stored, tmp_path: Path) -> None:
    import onnx

    model = stored(table=table)
    exporters()[ONNX].export(model, tmp_path / ONNX, "shipped")
    held = [onnx.numpy_helper.to_array(each) for each in onnx.load(tmp_path / ONNX).graph.initializer]
    assert sum(array.size == model.table.stored.codes.size for array in held) == 1


@given(codes=arrays(np.int8, st.tuples(st.integers(1, 5), st.integers(1, 7)), elements=st.integers(-8, 7)))
def test_packed_codes_are_two_to_a_byte_the_first_below(codes: np.ndarray) -> None:
    halves = packed(codes)
    assert len(halves) == -(-codes.size // 2)
    unpacked = [(byte >> shift & 0xF) for byte in halves.tolist() for shift in (0, 4)][: codes.size]
    assert [half - 16 if half > 7 else half for half in unpacked] == codes.reshape(-1).tolist()


@given(kernel=arrays(np.float32, (3, 8), elements=st.integers(-20, 20).map(lambda n: n / 8)))
def test_a_kernel_s_largest_weight_is_its_grid_s_last_point(kernel: np.ndarray) -> None:
    constant = of_kernel(kernel, "int8")
    codes = constant.data.view(np.int8).reshape(kernel.shape)
    assert np.abs(codes * constant.scales[:, None] - kernel).max() <= np.abs(kernel).max() / 254 + 1e-6
    for row, code in zip(kernel, codes, strict=True):
        assert np.abs(code).max() == (127 if row.any() else 0)
