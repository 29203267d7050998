"""On-device training: the adapter of `model.train.tflite`, on the owner's own orders, for one federated round."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from contracts.bundle import TRAINABLE_TFLITE, Manifest
from contracts.errors import WireError
from contracts.rounds import RoundTask
from device_sim.examples import Example
from export.inference.runtime import load_interpreter, load_signature, padded


class Trainer:
    """The bundle's trainable model in LiteRT."""

    def __init__(self, bundle: Path, manifest: Manifest) -> None:
        """
        Raises:
            BundleError: if the model cannot be loaded or has other inputs than the manifest says.
        """
        path = bundle / TRAINABLE_TFLITE
        interpreter = load_interpreter(path)
        self._train, self._get, self._set = (
            load_signature(path, manifest, name, interpreter) for name in ("train", "get_weights", "set_weights")
        )
        shapes = {spec.name: spec.shape for spec in manifest.signatures["train"].inputs}
        self._length = manifest.history_length
        self._items = manifest.items
        self._targets = shapes["targets"][1]
        self._negatives = shapes["negatives"][1]
        self._adapter = manifest.adapter

    def weights(self) -> np.ndarray:
        """The adapter, float32 [d], in the manifest's order."""
        found = self._get(ask=np.int32(0))
        return np.concatenate([np.ravel(found[name]) for name in self._adapter]).astype("<f4")

    def set_weights(self, flat: np.ndarray) -> None:
        """Replace the adapter.

        Args:
            flat: float32 [d], in the manifest's order.

        Raises:
            WireError: if it has another length than the adapter.
        """
        sizes = [int(np.prod(shape)) for shape in self._adapter.values()]
        if flat.shape != (sum(sizes),):
            raise WireError(f"adapter has {flat.size} floats, the bundle's has {sum(sizes)}: train for the bundle held")
        parts = np.split(flat.astype(np.float32), np.cumsum(sizes)[:-1])
        self._set(**{name: part.reshape(self._adapter[name]) for name, part in zip(self._adapter, parts, strict=True)})

    def step(self, example: Example, context: Sequence[int], rate: float, generator: np.random.Generator) -> float:
        """One step of gradient descent.

        Negatives are drawn from the whole catalogue but the targets.

        Returns:
            the loss before the step.
        """
        targets = np.zeros((1, self._targets), np.int32)
        kept = example.targets[: self._targets]
        targets[0, : len(kept)] = kept
        negatives = generator.integers(1, self._items + 1, (1, self._negatives), dtype=np.int32)
        spare = np.setdiff1d(np.arange(1, self._items + 1, dtype=np.int32), example.targets)
        clash = np.isin(negatives, example.targets)
        if clash.any() and spare.size:
            negatives[clash] = generator.choice(spare, int(clash.sum()))
        answer = self._train(
            **padded(example.history, self._length),
            context=np.asarray([context], np.int32),
            targets=targets,
            negatives=negatives,
            rate=np.float32(rate),
        )
        return float(answer["loss"])

    def update(
        self,
        task: RoundTask,
        examples: Sequence[Example],
        context: Callable[[Example], Sequence[int]],
        generator: np.random.Generator,
    ) -> bytes | None:
        """Train as a round's task asks, and say what changed.

        Args:
            task: where to start, and how.
            examples: the owner's.
            context: the model's context at an example.
            generator: order of the examples, and negatives.

        Returns:
            float32 [d], little endian: trained minus received adapter, clipped to one global L2 norm; None if there is
            nothing to train on or training diverged.

        Raises:
            WireError: if the task's adapter is not of this bundle's shape.
        """
        if len(task.adapter) % 4:
            raise WireError(f"adapter has {len(task.adapter)} bytes: float32 values have four each")
        received = np.frombuffer(task.adapter, "<f4")
        self.set_weights(received)
        if not examples:
            return None
        for _ in range(task.epochs):
            for position in generator.permutation(len(examples)):
                self.step(examples[position], context(examples[position]), task.learning_rate, generator)
        return clipped(self.weights().astype(np.float64) - received, task.clipping_norm)


def clipped(delta: np.ndarray, norm: float) -> bytes | None:
    """A change as it is handed in.

    Args:
        delta: float [d].
        norm: largest L2 norm over all floats.

    Returns:
        float32 [d], little endian, of norm at most `norm` after rounding; None if a value is NaN or infinite.
    """
    length = float(np.linalg.norm(delta))
    if not np.isfinite(length):
        return None
    scaled = (delta * min(1.0, norm / length) if length else delta).astype("<f4")
    while np.linalg.norm(scaled.astype(np.float64)) > norm:  # rounding to float32 may have added a little
        scaled = (scaled * np.float32(1 - 2**-20)).astype("<f4")
    return scaled.tobytes()
