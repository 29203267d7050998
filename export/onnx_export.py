"""ONNX: `model.onnx`, in a canonical form, because tf2onnx numbers its nodes as its hash tables happen to be ordered.

Outputs are `export.exporter.OUTPUT_NAMES`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts.bundle import ONNX
from contracts.errors import BundleError
from export.durable import write_durably
from export.exporter import OUTPUT_NAMES, Exporter, Precision, kept_in, quiet

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

    from compression.device_model import DeviceModel

OPSET = 17


class OnnxExporter(Exporter):
    """Inference; shipped, the table is stored once, int4 as int8; the small dense weights are float32 on their grid."""

    artifact = ONNX

    def export(self, model: "DeviceModel", path: Path, precision: Precision) -> None:
        from compression.item_table import StoredTable

        frozen = model.frozen(kept_in(precision))
        proto = _convert(frozen.signatures(["recommend"])["recommend"])
        table = frozen.table.frozen()
        if precision == "shipped" and isinstance(table, StoredTable):  # item codes are stored once as they are
            _store_once(proto, table.codes)
        write_durably(path, canonical(proto).SerializeToString(deterministic=True))


def _convert(function: Any) -> "ModelProto":
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(function)  # tf2onnx's from_function loses captured constants
    inputs = [tensor.name for tensor in frozen.inputs]
    outputs = {function.structured_outputs[name].name: new for name, new in OUTPUT_NAMES.items()}
    with quiet():
        proto, _ = tf2onnx.convert.from_graph_def(
            frozen.graph.as_graph_def(),
            input_names=inputs,
            output_names=list(outputs),
            opset=OPSET,
            tensors_to_rename={name: name.partition(":")[0] for name in inputs} | outputs,
        )
    return proto


def _store_once(proto: "ModelProto", codes: np.ndarray) -> None:
    """Undo tf2onnx's constant folding of the table's transpose, which would store it a second time, as float32.

    Args:
        proto: changed in place.
        codes: [items + 1, width], integers or floats, which the graph holds as well.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    arrays = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    same = [name for name, array in arrays.items() if np.array_equal(array, codes)]
    if not same:
        raise BundleError("tf2onnx changed the item table: install the versions that are pinned")
    table = min(same, key=lambda name: arrays[name].itemsize)
    for number, folded in enumerate(sorted(arrays)):
        if arrays[folded].dtype != np.float32 or not np.array_equal(arrays[folded], codes.T):
            continue
        graph.initializer.remove(next(each for each in graph.initializer if each.name == folded))
        transposed = f"{table}_transposed_{number}"
        graph.node.insert(0, helper.make_node("Cast", [transposed], [folded], to=TensorProto.FLOAT))
        graph.node.insert(0, helper.make_node("Transpose", [table], [transposed], perm=[1, 0]))


def canonical(proto: "ModelProto") -> "ModelProto":
    """The same model with nodes in depth-first order from the outputs, and names that follow from that order.

    Inputs and outputs keep their names and their order by name; initializers stand in order of first use.
    """
    from onnx import checker, helper

    graph = proto.graph
    producers = {name: node for node in graph.node for name in node.output}
    held = {tensor.name: tensor for tensor in graph.initializer}
    inputs = sorted(graph.input, key=lambda value: value.name)
    outputs = sorted(graph.output, key=lambda value: value.name)
    names = {value.name: value.name for value in (*inputs, *outputs)} | {"": ""}
    nodes: list[NodeProto] = []
    initializers: list[TensorProto] = []

    def visit(name: str) -> None:
        if name in producers:
            node = producers.pop(name)
            for output in node.output:
                producers.pop(output, None)
            for needed in node.input:
                visit(needed)
            for output in node.output:
                names.setdefault(output, f"v{len(names)}")
            nodes.append(_renamed(node, names, len(nodes)))
        elif name in held and name not in names:
            names[name] = f"w{len(initializers)}"
            tensor = held[name]
            tensor.name = names[name]
            initializers.append(tensor)

    for output in outputs:
        visit(output.name)
    fresh = helper.make_model(
        helper.make_graph(nodes, "recommend", inputs, outputs, initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=proto.ir_version,
        producer_name="pocketrec",
    )
    checker.check_model(fresh)
    return fresh


def _renamed(node: "NodeProto", names: dict[str, str], number: int) -> "NodeProto":
    from onnx import NodeProto

    return NodeProto(
        op_type=node.op_type,
        name=f"{node.op_type}_{number}",
        input=[names[name] for name in node.input],
        output=[names[name] for name in node.output],
        attribute=sorted(node.attribute, key=lambda attribute: attribute.name),
    )
