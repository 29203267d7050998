"""What a TFLite model's constants are stored as, the item table once.

The converter quantizes what it likes, and knows no way to use one tensor of integers both for embedding the history
and for scoring the catalogue: it would cast the whole table to float32 in every call. So it is asked to quantize
nothing, and constants are replaced here. What read them then reads

    GATHER             integers, as EMBEDDING_LOOKUP
    FULLY_CONNECTED    integers, to which the runtime rounds the activations in each call; or else their float32
    anything else      the float32 that they stand for, by a DEQUANTIZE that the runtime does once, on loading

Source: the TensorFlow Lite schema, version 3c; versions of operators as LiteRT registers them.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType

from export.tflite_constants import Constant

if TYPE_CHECKING:
    from compression.recipe import Activations

IDENTIFIER = b"TFL3"
ALIGNMENT = 16  # of every buffer, so that a runtime can read it where the file is mapped
CAST, GATHER, DENSE = BuiltinOperator.CAST, BuiltinOperator.GATHER, BuiltinOperator.FULLY_CONNECTED
LOOKUP, EXPAND = BuiltinOperator.EMBEDDING_LOOKUP, BuiltinOperator.DEQUANTIZE
VERSIONS = {LOOKUP: 4, DENSE: 12, EXPAND: 6}  # the first that take int4
DTYPES: dict[int, np.dtype[Any]] = {
    TensorType.FLOAT32: np.dtype("<f4"),
    TensorType.INT8: np.dtype("i1"),
}  # of constants that may be replaced
Form = Callable[[np.ndarray, bool], Constant | None]
"""A constant of float32 or int8, and whether it is a dense layer's weights -> how to store it, None: as it is."""


def store_constants(data: bytes, form: Form, activations: "Activations") -> bytes:
    """A converted model with its constants stored otherwise, and without its tensors' names, which nothing reads.

    Args:
        data: the model, not quantized; integers stand for themselves, behind a CAST to float32.
        form: of each constant; equal ones share their bytes.
        activations: what dense layers of integers multiply them with.
    """
    model = schema.ModelT.InitFromPackedBuf(bytearray(data), 0)
    found = [(graph, number, constant) for graph in model.subgraphs for number, constant in _forms(model, graph, form)]
    buffers: dict[bytes, int] = {}
    for graph, number, constant in found:
        _store(model, graph.tensors[number], constant, buffers)
        if constant.type != TensorType.FLOAT32:
            _skip_casts(model, graph, number)
            _feed_readers(model, graph, number, activations)
    _drop_what_is_unused(model)
    builder = _SharingBuilder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class _SharingBuilder(flatbuffers.Builder):
    """Writes a vector that many tables have, such as a shape or a unit's zero points, once; aligns buffers' bytes.

    The generated code would put a buffer's bytes anywhere.
    """

    def __init__(self, initial_size: int) -> None:
        super().__init__(initial_size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802, the base class's name
        key = x.dtype.str, x.tobytes()
        if key not in self._written:
            if x.dtype == np.uint8:
                self.Prep(ALIGNMENT, x.nbytes)
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]


def _forms(model: Any, graph: Any, form: Form) -> Iterator[tuple[int, Constant]]:
    """Numbers of the tensors that are to be stored otherwise."""
    weights = {each.inputs[1] for each in graph.operators if _kind(model, each) == DENSE}
    for number, tensor in enumerate(graph.tensors):
        held = model.buffers[tensor.buffer].data
        if held is not None and tensor.type in DTYPES and tensor.shape is not None:
            values = np.frombuffer(bytes(held), DTYPES[tensor.type]).reshape(tensor.shape)
            if (constant := form(values, number in weights)) is not None:
                yield number, constant


def _store(model: Any, tensor: Any, constant: Constant, buffers: dict[bytes, int]) -> None:
    key = constant.data.tobytes()
    if key not in buffers:
        buffers[key] = len(model.buffers)
        buffer = schema.BufferT()
        buffer.data = constant.data
        model.buffers.append(buffer)
    tensor.type, tensor.buffer = constant.type, buffers[key]
    if constant.scales is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = constant.scales  # of rows where there are many: dimension 0 is the default
        tensor.quantization.zeroPoint = np.zeros(len(constant.scales), np.int64)


def _skip_casts(model: Any, graph: Any, number: int) -> None:
    """Let a constant be read directly where a CAST of it was read, and rows of it where a CAST of them was."""
    for reader in _readers(graph, number):
        if _kind(model, reader) == GATHER:
            for cast in _readers(graph, reader.outputs[0]):
                if _kind(model, cast) == CAST:
                    reader.outputs = cast.outputs
                    graph.operators.remove(cast)
        elif _kind(model, reader) == CAST:
            _read_instead(graph, reader.outputs[0], number)
            graph.operators.remove(reader)


def _feed_readers(model: Any, graph: Any, number: int, activations: "Activations") -> None:
    """Let what reads a constant that is no longer float32 read its integers or what they stand for."""
    tensor = graph.tensors[number]
    integers = tensor.type in (TensorType.INT8, TensorType.INT4)
    expanded: list[Any] = []
    for reader in _readers(graph, number):
        kind = _kind(model, reader)
        if integers and kind == GATHER and len(tensor.shape) > 1 and len(graph.tensors[reader.inputs[1]].shape) == 1:
            reader.opcodeIndex, reader.inputs = _code(model, LOOKUP), [reader.inputs[1], number]
            reader.builtinOptions, reader.builtinOptionsType = None, schema.BuiltinOptions.NONE
        elif integers and kind == DENSE and activations == "int8":
            reader.opcodeIndex = _code(model, DENSE)
            reader.builtinOptions.asymmetricQuantizeInputs = tensor.type == TensorType.INT8  # int4's kernel has none
        else:
            expanded.append(reader)
    if expanded:
        floats = _expand(model, graph, number)
        for reader in expanded:
            reader.inputs = [floats if each == number else each for each in reader.inputs]


def _expand(model: Any, graph: Any, number: int) -> int:
    """The number of a new tensor: the float32 of a constant, made before anything else."""
    stored, floats = graph.tensors[number], schema.TensorT()
    floats.shape, floats.hasRank, floats.type, floats.buffer = stored.shape, stored.hasRank, TensorType.FLOAT32, 0
    graph.tensors.append(floats)
    new, operator = len(graph.tensors) - 1, schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = _code(model, EXPAND), [number], [new]
    operator.builtinOptions = schema.DequantizeOptionsT()
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    graph.operators.insert(0, operator)
    return new


def _drop_what_is_unused(model: Any) -> None:
    """Buffers that nothing holds, the empty one of each tensor that is computed, quantization of none, and names."""
    kept, number_of = [model.buffers[0]], {0: 0}

    def moved(number: int) -> int:
        if model.buffers[number].data is None:
            return 0  # the empty one, by the schema
        if number not in number_of:
            number_of[number] = len(kept)
            kept.append(model.buffers[number])
        return number_of[number]

    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer, tensor.name = moved(tensor.buffer), None
            if tensor.quantization is not None and tensor.quantization.scale is None:
                tensor.quantization = None
    for each in model.metadata or ():
        each.buffer = moved(each.buffer)
    model.buffers = kept


def _readers(graph: Any, number: int) -> list[Any]:
    return [operator for operator in graph.operators if number in operator.inputs]


def _read_instead(graph: Any, old: int, new: int) -> None:
    for reader in _readers(graph, old):
        reader.inputs = [new if each == old else each for each in reader.inputs]


def _kind(model: Any, operator: Any) -> int:
    return model.operatorCodes[operator.opcodeIndex].builtinCode


def _code(model: Any, kind: int) -> int:
    """The number of an operator of the version that takes int4."""
    version = VERSIONS[kind]
    for number, each in enumerate(model.operatorCodes):
        if (each.builtinCode, each.version) == (kind, version):
            return number
    added = schema.OperatorCodeT()
    added.builtinCode, added.deprecatedBuiltinCode, added.version = kind, min(kind, 127), version
    model.operatorCodes.append(added)
    return len(model.operatorCodes) - 1
