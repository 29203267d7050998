"""The contract of every exporter: the device model's answers, the manifest's tensors, the same bytes in any process."""

from pathlib import Path

import numpy as np
import pytest

from contracts.bundle import CORE_ML, ONNX, TFLITE, TRAINABLE_TFLITE
from contracts.errors import ConfigError
from export.artifacts import exporters
from export.exporter import OUTPUT_NAMES, Exporter
from export.parity import measure_parity
from export.runtimes import ModuleEvaluator, open_evaluator
from export.signatures import manifest_signatures

ARTIFACTS = (CORE_ML, ONNX, TFLITE, TRAINABLE_TFLITE)
every_artifact = pytest.mark.parametrize("artifact", ARTIFACTS)
every_precision = pytest.mark.parametrize("precision", ["fp32", "shipped"])

Tensors = dict[str, tuple[str, tuple[int, ...]]]


def contents(path: Path) -> dict[str, bytes]:
    """Bytes of a file, or of each file of a folder."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return {each.relative_to(path).as_posix(): each.read_bytes() for each in files}


def tensors_of(path: Path) -> tuple[Tensors, Tensors]:
    """Inputs and outputs of `recommend` as the file itself declares them."""
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(model_path=str(path)).get_signature_runner("recommend")
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        return tuple(  # type: ignore[return-value]
            {name: (np.dtype(one["dtype"]).name, tuple(one["shape"].tolist())) for name, one in side.items()}
            for side in (inputs, outputs)
        )
    if path.suffix == ".onnx":
        import onnxruntime

        names = {"tensor(int32)": "int32", "tensor(float)": "float32"}
        session = onnxruntime.InferenceSession(str(path))
        return tuple(  # type: ignore[return-value]
            {one.name: (names[one.type], tuple(one.shape)) for one in side}
            for side in (session.get_inputs(), session.get_outputs())
        )
    import coremltools as ct

    description = ct.utils.load_spec(str(path)).description
    names = {ct.proto.FeatureTypes_pb2.ArrayFeatureType.INT32: "int32"} | {
        ct.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT32: "float32"
    }
    return tuple(  # type: ignore[return-value]
        {one.name: (names[one.type.multiArrayType.dataType], tuple(one.type.multiArrayType.shape)) for one in side}
        for side in (description.input, description.output)
    )


def test_every_artifact_has_its_one_exporter() -> None:
    assert tuple(exporters()) == ARTIFACTS
    with pytest.raises(ConfigError, match=r"Second and TfliteExporter both write model\.tflite"):

        class Second(Exporter):
            artifact = TFLITE


@every_artifact
def test_float32_exports_have_the_device_model_s_top_10(artifact: str, model, exported: Path, feeds) -> None:
    parity = measure_parity(model, feeds, {artifact: open_evaluator(exported / "fp32" / artifact)}, {})
    assert parity.histories == len(feeds)
    assert parity.fp32[artifact].same_top_10 == 1.0
    assert parity.fp32[artifact].max_abs_score_error < 1e-5


@every_artifact
def test_shipped_artifacts_carry_the_same_integers_so_that_only_arithmetic_differs(
    artifact: str, model, exported: Path, feeds
) -> None:
    found = measure_parity(model, feeds, {}, {artifact: open_evaluator(exported / "shipped" / artifact)})
    integer_activations = artifact == TFLITE
    assert found.shipped[artifact].max_abs_score_error < (0.1 if integer_activations else 1e-5)
    assert found.shipped[artifact].top_10_overlap >= (0.9 if integer_activations else 1.0)


@every_artifact
def test_scores_are_those_of_the_items_beside_them(artifact: str, exported: Path, model, feeds) -> None:
    reference = ModuleEvaluator(model)
    for feed in feeds[::4]:
        items, scores = open_evaluator(exported / "fp32" / artifact).rank(feed)
        expected = dict(zip(*(side.tolist() for side in reference.rank(feed)), strict=True))
        assert (items.dtype, scores.dtype) == (np.int32, np.float32)
        assert (np.diff(scores) <= 0).all()
        assert all(
            abs(expected[item] - score) < 1e-4 for item, score in zip(items.tolist(), scores.tolist(), strict=True)
        )


@every_artifact
def test_another_process_writes_the_same_bytes(artifact: str, exported: Path, other_build: Path) -> None:
    ours, theirs = (contents(folder / "shipped" / artifact) for folder in (exported, other_build))
    assert ours == theirs


@every_artifact
@every_precision
def test_names_dtypes_and_shapes_are_the_manifest_s(artifact: str, precision: str, model, exported: Path) -> None:
    said = manifest_signatures(model)["recommend"]
    renamed = OUTPUT_NAMES if artifact in (ONNX, CORE_ML) else {}
    inputs, outputs = tensors_of(exported / precision / artifact)
    assert inputs == {spec.name: (spec.dtype, spec.shape) for spec in said.inputs}
    if artifact == CORE_ML:  # an ML program's outputs need no shape in the package's description
        outputs = {name: (dtype, shape or (1, model.spec.candidates)) for name, (dtype, shape) in outputs.items()}
    assert outputs == {renamed.get(spec.name, spec.name): (spec.dtype, spec.shape) for spec in said.outputs}


@every_artifact
def test_the_item_table_is_stored_once_as_int8(artifact: str, model, exported: Path) -> None:
    codes = model.table.frozen()[0]
    data = b"".join(contents(exported / "shipped" / artifact).values())
    assert data.count(codes.tobytes()) == 1
    for copy in (codes.T.tobytes(), codes.astype("<f4").tobytes(), codes.T.astype("<f4").tobytes()):
        assert copy not in data
    assert len(data) < codes.size + 260_000  # graph, dense weights, adapter
    whole = b"".join(contents(exported / "fp32" / artifact).values())
    assert codes.astype("<f4").tobytes() in whole


@pytest.mark.parametrize("artifact", [TFLITE, CORE_ML])
def test_dense_weights_on_their_grid_ship_as_those_integers(artifact: str, model, exported: Path) -> None:
    data = b"".join(contents(exported / "shipped" / artifact).values())
    kernels = [
        weight
        for encoder in (model.token_encoder, model.query_encoder)
        for weight in encoder.get_weights()
        if weight.ndim == 2 and weight.size >= 1024
    ]
    assert len(kernels) == 6
    for kernel in kernels:
        integers = np.rint(kernel / (np.abs(kernel).max(axis=0) / 127)).astype(np.int8)
        assert (integers.T if artifact == TFLITE else integers).tobytes() in data  # TFLite keeps rows of outputs


def test_the_phone_needs_no_operations_beyond_the_builtin(exported: Path) -> None:
    for artifact in (TFLITE, TRAINABLE_TFLITE):
        assert b"Flex" not in (exported / "shipped" / artifact).read_bytes()
