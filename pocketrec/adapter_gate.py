"""What the gate looks at: the trainable model as phones run it, on held-out people, by its old adapter and the new."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from contracts.bundle import TRAINABLE_TFLITE
from device_sim.trainer import Trainer
from export.inference.runtime import load_interpreter
from export.runtimes import THREADS, Feed, Ranked
from export.verify import read_manifest
from federated.gate import GateDecision, decide

if TYPE_CHECKING:
    from pocketrec.artifact_quality import Progress, Task


class AdaptedModel:
    """`recommend` of a bundle's model.train.tflite by an adapter, which is the state of one interpreter."""

    def __init__(self, bundle: Path, adapter: NDArray[np.float32]) -> None:
        """
        Args:
            bundle: its directory.
            adapter: float32 [d], in the manifest's order.
        """
        interpreter = load_interpreter(bundle / TRAINABLE_TFLITE)
        values = split_adapter(read_manifest(bundle).adapter, adapter)
        interpreter.get_signature_runner("set_weights")(**values)
        self._recommend = interpreter.get_signature_runner("recommend")
        self.name = f"LiteRT, {THREADS} thread"

    def rank(self, feed: Feed) -> Ranked:
        answer = self._recommend(**feed)
        return answer["items"][0], answer["scores"][0]


def bundled_adapter(bundle: Path) -> NDArray[np.float32]:
    """float32 [d]: the adapter as the trainable model gives it out."""
    return Trainer(bundle, read_manifest(bundle)).weights()


def split_adapter(shapes: Mapping[str, tuple[int, ...]], flat: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """The flat vector as named tensors."""
    parts = np.split(flat.astype(np.float32), np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def judge(
    bundle: Path, old: NDArray[np.float32], new: NDArray[np.float32], task: "Task", seed: int, progress: "Progress"
) -> GateDecision:
    """Whether the new adapter may be published: NDCG@10 on all items of each held-out person, paired."""
    from pocketrec.artifact_quality import evaluate_artifacts

    models = {"old": AdaptedModel(bundle, old), "new": AdaptedModel(bundle, new)}
    found = evaluate_artifacts(models, task, progress, new_items=False)
    values = [found[name].ndcg for name in models]
    known = ~np.isnan(values[0])
    return decide(values[0][known], values[1][known], seed=seed)
