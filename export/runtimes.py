"""Artifacts behind one interface, each in the runtime that evaluates it here, with one thread."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from contracts.bundle import CORE_ML, ONNX, TFLITE, TRAINABLE_TFLITE
from contracts.errors import BundleError
from export.core_ml_reference import CoreMlReference
from export.exporter import OUTPUT_NAMES

if TYPE_CHECKING:
    from compression.device_model import DeviceModel

THREADS = 1
Feed = Mapping[str, np.ndarray]
"""The inputs of `recommend` by name, with a batch dimension of 1."""
Ranked = tuple[np.ndarray, np.ndarray]
"""items int32 [K], best first, and their scores float32 [K]."""


class Evaluator(Protocol):
    """One artifact, ready to rank."""

    name: str  # of the runtime, with its version

    def rank(self, feed: Feed) -> Ranked:
        """The artifact's answer to one history."""
        ...


class LiteRtEvaluator:
    """A TFLite file's `recommend`, in LiteRT."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.name = f"LiteRT {version('ai-edge-litert')}"
        try:
            self._run = Interpreter(model_path=str(path), num_threads=THREADS).get_signature_runner("recommend")
        except (ValueError, RuntimeError) as error:
            raise BundleError(f"{path.name} cannot be loaded: {str(error).splitlines()[0]}") from None

    def rank(self, feed: Feed) -> Ranked:
        answer = self._run(**feed)
        return answer["items"][0], answer["scores"][0]


class OnnxEvaluator:
    """An ONNX file, in ONNX Runtime on the processor."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self.name = f"ONNX Runtime {onnxruntime.__version__}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = THREADS
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base of their own
            raise BundleError(f"{path.name} cannot be loaded: {str(error).splitlines()[0]}") from None

    def rank(self, feed: Feed) -> Ranked:
        items, scores = self._session.run([OUTPUT_NAMES["items"], OUTPUT_NAMES["scores"]], dict(feed))
        return items[0], scores[0]


class CoreMlEvaluator:
    """An .mlpackage, by the reference evaluator: not Core ML itself, and not to be timed."""

    def __init__(self, path: Path) -> None:
        self.name = f"Core ML reference evaluator, coremltools {version('coremltools')}"
        self._evaluate = CoreMlReference(path)

    def rank(self, feed: Feed) -> Ranked:
        answer = self._evaluate(feed)
        return answer[OUTPUT_NAMES["items"]][0], answer[OUTPUT_NAMES["scores"]][0]


class ModuleEvaluator:
    """The device model itself in float32, over its frozen integers: what every artifact is compared with."""

    def __init__(self, model: "DeviceModel") -> None:
        import tensorflow as tf

        self.name = f"TensorFlow {tf.__version__}"
        self._model = model.frozen("float32")  # kept: the traced function does not keep it alive
        self._recommend = self._model.signatures(["recommend"])["recommend"]
        self._tensor = tf.constant

    def rank(self, feed: Feed) -> Ranked:
        answer = self._recommend(**{name: self._tensor(value) for name, value in feed.items()})
        return answer["items"].numpy()[0], answer["scores"].numpy()[0]


_EVALUATORS: dict[str, type[LiteRtEvaluator | OnnxEvaluator | CoreMlEvaluator]] = {
    TFLITE: LiteRtEvaluator,
    TRAINABLE_TFLITE: LiteRtEvaluator,
    ONNX: OnnxEvaluator,
    CORE_ML: CoreMlEvaluator,
}


def open_evaluator(path: Path) -> Evaluator:
    """The evaluator of an artifact, chosen by its file's name.

    Raises:
        BundleError: if the name is no artifact's, or the file cannot be loaded.
    """
    try:
        kind = _EVALUATORS[path.name]
    except KeyError:
        raise BundleError(f"{path.name} is no artifact: give one of {', '.join(_EVALUATORS)}") from None
    return kind(path)
