"""Pruning of the device model's encoders with TFMOT's polynomial schedule (Zhu and Gupta 2017, arXiv:1710.01878).

TFMOT's callbacks serve `Model.fit`; the device model is trained by its own loop, so the schedule is driven step by
step here. Pruned weights pay in the size of a download, not in latency: the runtime's sparse kernels serve
convolutions.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import tf_keras

from compression.compression_pass import Pass
from compression.recipe import Recipe

if TYPE_CHECKING:
    from compression.device_model import DeviceModel

BEGIN, END = 0.2, 0.8  # shares of the steps between which the sparsity grows
FREQUENCY = 10  # steps between two updates of the masks


def pruned(kernel: np.ndarray, share: float, m_by_n: tuple[int, int] | None = None) -> np.ndarray:
    """float32 [inputs, units]: the smallest weights 0, those that are 0 already among them.

    Args:
        kernel: of the same shape.
        share: of all weights; not read where there is a pattern.
        m_by_n: m zeros in each n successive inputs of a unit; inputs beyond the last whole n stay.
    """
    size = np.abs(kernel)
    if m_by_n is None:
        zeros, flat = round(share * kernel.size), size.reshape(-1)
        mask = np.ones(kernel.size, bool)
        mask[np.argsort(flat, kind="stable")[:zeros]] = False
        return (kernel * mask.reshape(kernel.shape)).astype(np.float32)
    zeros, group = m_by_n
    whole = len(kernel) // group * group
    grouped = kernel[:whole].reshape(-1, group, kernel.shape[1]).copy()
    smallest = np.argsort(np.abs(grouped), axis=1, kind="stable")[:, :zeros]
    np.put_along_axis(grouped, smallest, 0.0, axis=1)
    return np.concatenate([grouped.reshape(whole, -1), kernel[whole:]]).astype(np.float32)


class PruneDense(Pass):
    """Prunes dense weights by size at once; what was pruned while it was trained has its zeros already."""

    name = "pruning"

    def wanted(self, recipe: Recipe) -> bool:
        return bool(recipe.pruned)

    def apply(self, model: "DeviceModel", recipe: Recipe) -> None:
        for encoder in (model.token_encoder, model.query_encoder):
            for layer in encoder.layers:
                if isinstance(layer, tf_keras.layers.Dense):
                    layer.kernel.assign(pruned(layer.kernel.numpy(), recipe.pruned / 100, recipe.m_by_n))


@contextmanager
def pruning(
    model: "DeviceModel", sparsity: float, steps: int, m_by_n: tuple[int, int] | None = None
) -> Iterator[Callable[[int], None]]:
    """Prune the dense layers of a model's encoders while the block trains them.

    Args:
        model: its encoders are wrapped within the block, and plain again, with pruned weights, after it.
        sparsity: share of each kernel's weights that are 0 at the end; 0 prunes nothing.
        steps: how many the block will take.
        m_by_n: m zeros in every n weights of a unit, instead of anywhere.

    Yields:
        To be called after every step with its number.
    """
    if not sparsity:
        yield lambda number: None
        return
    from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import PruneLowMagnitude
    from tensorflow_model_optimization.sparsity import keras as sparse

    schedule = sparse.PolynomialDecay(0.0, sparsity, int(BEGIN * steps), max(int(END * steps), 1), frequency=FREQUENCY)

    def wrap(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if isinstance(layer, tf_keras.layers.Dense):
            pattern = {} if m_by_n is None else {"sparsity_m_by_n": m_by_n}
            return sparse.prune_low_magnitude(layer, pruning_schedule=schedule, **pattern)
        return layer

    for name in ("token_encoder", "query_encoder"):
        plain = getattr(model, name)
        setattr(model, name, tf_keras.models.clone_model(plain, clone_function=wrap))
    wrapped = [
        layer
        for encoder in (model.token_encoder, model.query_encoder)
        for layer in encoder.layers
        if isinstance(layer, PruneLowMagnitude)
    ]

    def after_step(number: int) -> None:
        for layer in wrapped:
            layer.pruning_step.assign(number)
            layer.pruning_obj.conditional_mask_update()
            layer.pruning_obj.weight_mask_op()

    yield after_step
    model.token_encoder = sparse.strip_pruning(model.token_encoder)
    model.query_encoder = sparse.strip_pruning(model.query_encoder)
