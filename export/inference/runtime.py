"""`model.tflite` on the device: a history in, catalogue indices and scores out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from contracts.bundle import TFLITE, Manifest, Signature
from contracts.errors import BundleError, InputError
from contracts.summary import History

THREADS = 1  # a phone's app leaves the other cores to the screen


class Ranking(msgspec.Struct, frozen=True):
    """Catalogue indices, best first, and their scores."""

    items: tuple[int, ...]
    scores: tuple[float, ...]


class Runtime:
    """The bundle's inference model in LiteRT."""

    def __init__(self, bundle: Path, manifest: Manifest) -> None:
        """
        Raises:
            BundleError: if the model cannot be loaded or has other inputs than the manifest says.
        """
        self.length = manifest.history_length
        self._recommend = load_signature(bundle / TFLITE, manifest, "recommend")

    def recommend(self, history: History, context: Sequence[int]) -> Ranking:
        """The model's candidates for a history.

        Args:
            history: at most `length` items, most recent last.
            context: one code for each of the manifest's context fields.

        Raises:
            InputError: if the history is longer than the model's.
        """
        answer = self._recommend(**padded(history, self.length), context=np.asarray([context], np.int32))
        return Ranking(tuple(answer["items"][0].tolist()), tuple(answer["scores"][0].tolist()))


def padded(history: History, length: int) -> dict[str, np.ndarray]:
    """A history as the model's inputs, padding first, so that the most recent item is always the last.

    Returns:
        items and events int32 [1, length], counts and ages float32 [1, length].

    Raises:
        InputError: if the history is longer than `length`.
    """
    if len(history.items) > length:
        raise InputError(f"history has {len(history.items)} items, the model takes {length}: pass the last {length}")
    columns = {"items": np.int32, "events": np.int32, "counts": np.float32, "ages": np.float32}
    inputs = {}
    for name, dtype in columns.items():
        inputs[name] = np.zeros((1, length), dtype)
        values = getattr(history, name)
        inputs[name][0, length - len(values) :] = values
    return inputs


def load_interpreter(path: Path) -> Any:
    """A LiteRT interpreter of a model file.

    Raises:
        BundleError: if the file is no model that this runtime can load.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        return Interpreter(model_path=str(path), num_threads=THREADS)
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{path.name} cannot be loaded: {str(error).splitlines()[0]}") from None


def load_signature(path: Path, manifest: Manifest, name: str, interpreter: Any = None) -> Callable[..., dict]:
    """A model's signature as a function of named arrays, held against the manifest.

    Raises:
        BundleError: if the model cannot be loaded, lacks the signature, or has other tensors than the manifest says.
    """
    interpreter = interpreter or load_interpreter(path)
    try:
        runner = interpreter.get_signature_runner(name)
        said = manifest.signatures[name]
    except (ValueError, KeyError):
        raise BundleError(f"{path.name} or the manifest lacks the signature {name!r}: build the bundle again") from None
    found = {key: (np.dtype(one["dtype"]).name, tuple(one["shape"])) for key, one in runner.get_input_details().items()}
    if found != _inputs(said):
        raise BundleError(f"{name} of {path.name} takes {found}, the manifest says {_inputs(said)}: build it again")
    return runner


def _inputs(signature: Signature) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {spec.name: (spec.dtype, spec.shape) for spec in signature.inputs}
