"""What a saved `.mlpackage` computes, evaluated on any machine, operation by operation.

Core ML itself runs on Apple's systems only. Here each operation of the package as saved (its weights as stored, int8
expanded as written) is evaluated by coremltools' own value inference and rounded to the type that the package states.
It shows what the artifact says, not a phone's arithmetic. Operations that coremltools 9.0 cannot infer are in `_OWN`,
by the definitions in its MIL reference.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contracts.errors import BundleError
from export.core_ml import MODEL_FILE, WEIGHTS_FOLDER
from export.exporter import quiet


class CoreMlReference:
    """A loaded package; inputs and outputs by name."""

    def __init__(self, package: Path) -> None:
        """
        Raises:
            BundleError: if the folder is no ML program that can be read.
        """
        with quiet():
            import coremltools as ct
            from coremltools.converters.mil.frontend.milproto.load import load as load_mil
        try:
            spec = ct.utils.load_spec(str(package / MODEL_FILE))
            program = load_mil(spec, spec.specificationVersion, file_weights_dir=str(package / WEIGHTS_FOLDER))
        except Exception as error:  # of protobuf, of the blob reader or of MIL: the package is damaged in any case
            raise BundleError(f"{package.name} cannot be loaded: {str(error).splitlines()[0]}") from None
        self._main = program.functions["main"]
        self._varying = []
        for op in self._main.operations:
            if op.op_type.startswith("constexpr"):
                _assign(op, op.materialized_val_inference())
            elif op.op_type != "const":
                self._varying.append(op)

    def __call__(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Evaluate; the package's operations hold the values meanwhile, so one call at a time."""
        for name, variable in self._main.inputs.items():
            _set(variable, feed[name])
        for op in self._varying:
            own = _OWN.get(op.op_type)
            _assign(op, own(op) if own else op.value_inference())
        return {output.name: output.val for output in self._main.outputs}


def _assign(op: Any, values: Any) -> None:
    many: Sequence[Any] = values if isinstance(values, tuple | list) else (values,)
    for output, value in zip(op.outputs, many, strict=True):
        _set(output, value)


def _set(variable: Any, value: Any) -> None:
    from coremltools.converters.mil.mil.types.type_mapping import nptype_from_builtin, numpy_val_to_builtin_val

    rounded = np.asarray(value).astype(nptype_from_builtin(variable.dtype), copy=False)
    variable._sym_val = numpy_val_to_builtin_val(rounded)[0]


def _reduce(function: Callable[..., np.ndarray]) -> Callable[[Any], np.ndarray]:
    """Its own inference passes numpy a numpy bool, which numpy 2 refuses."""

    def reduce(op: Any) -> np.ndarray:
        axes = None if op.axes is None else tuple(op.axes.val)
        return function(op.x.val, axis=axes, keepdims=bool(op.keep_dims.val))

    return reduce


def _one_hot(op: Any) -> np.ndarray:
    if op.axis.val != -1:
        raise BundleError(f"{op.name}: one_hot over axis {op.axis.val} is not evaluated here, only over the last")
    chosen = np.arange(op.one_hot_vector_size.val) == op.indices.val[..., None]
    return np.where(chosen, op.on_value.val, op.off_value.val)


def _scatter_nd(op: Any) -> np.ndarray:
    if op.mode.val != "add":
        raise BundleError(f"{op.name}: scatter_nd by {op.mode.val} is not evaluated here, only by add")
    result = np.array(op.data.val)
    np.add.at(result, tuple(np.moveaxis(op.indices.val, -1, 0)), op.updates.val)
    return result


_OWN: dict[str, Callable[[Any], np.ndarray]] = {
    "reduce_mean": _reduce(np.mean),
    "reduce_sum": _reduce(np.sum),
    "one_hot": _one_hot,
    "scatter_nd": _scatter_nd,
}
