"""The canonical form of an ONNX model does not depend on names or on the order in which a converter wrote it."""

from pathlib import Path

import numpy as np
import onnx

from contracts.bundle import ONNX
from export.onnx_export import canonical
from export.runtimes import OnnxEvaluator


def shuffled(proto: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """The same model in another order, with other names for everything inside."""
    rng = np.random.default_rng(seed)
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    kept = {value.name for value in (*copy.graph.input, *copy.graph.output)}

    def name(old: str) -> str:
        return old if old in kept or not old else f"{seed}_{hash((seed, old))}"

    for node in copy.graph.node:
        node.name = f"node_{rng.integers(10**9)}"
        inputs, outputs = list(map(name, node.input)), list(map(name, node.output))
        del node.input[:], node.output[:]
        node.input.extend(inputs)
        node.output.extend(outputs)
    for tensor in copy.graph.initializer:
        tensor.name = name(tensor.name)
    for field in (copy.graph.node, copy.graph.initializer, copy.graph.input, copy.graph.output):
        moved = [field[position] for position in rng.permutation(len(field))]
        messages = [type(each).FromString(each.SerializeToString()) for each in moved]
        del field[:]
        field.extend(messages)
    return copy


def test_names_and_order_change_nothing(exported: Path, feeds, tmp_path: Path) -> None:
    proto = onnx.load(exported / "shipped" / ONNX)
    written = proto.SerializeToString(deterministic=True)
    for seed in range(3):
        other = shuffled(proto, seed)
        assert other.SerializeToString(deterministic=True) != written
        assert canonical(other).SerializeToString(deterministic=True) == written
    (tmp_path / ONNX).write_bytes(written)
    ours, theirs = (OnnxEvaluator(folder / ONNX).rank(feeds[5]) for folder in (tmp_path, exported / "shipped"))
    assert np.array_equal(ours[0], theirs[0])


def test_another_weight_is_another_model(exported: Path) -> None:
    proto = onnx.load(exported / "shipped" / ONNX)
    written = proto.SerializeToString(deterministic=True)
    tensor = next(each for each in proto.graph.initializer if each.data_type == onnx.TensorProto.INT8)
    tensor.raw_data = bytes([tensor.raw_data[0] ^ 1]) + tensor.raw_data[1:]
    assert canonical(proto).SerializeToString(deterministic=True) != written
