"""Which layer's compression changed a model's answers: each alone is restored to its floats, the top 10 compared."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf
import tf_keras
import torch
from numpy.typing import NDArray

from compression.blamed import Blame, Blamed
from compression.compress import scores_of
from compression.device_model import DeviceModel
from training.calibration import Encoded
from training.histories import Histories

TOP = 10
ITEM_TABLE = "item table"


def blame(stored: DeviceModel, floats: DeviceModel, histories: Histories) -> Blamed:
    """Restore one layer at a time.

    The models are compared in float32: rounding of activations, which no layer alone is to blame for, is left aside.

    Args:
        stored: the compressed model; it stays as it is.
        floats: the same model with everything stored as float32; it is given the stored one's adapter.
        histories: n, to be asked for.
    """
    for name, variable in floats.adapter.items():  # stored as it is; its copy head's height was set afterwards
        variable.assign(stored.adapter[name])
    model, tabled = stored.copied(stored.recipe), stored.copied(stored.recipe)
    tabled.table = floats.table
    expected, ask = _top(scores_of(floats, histories), histories), scores_of(model, histories)

    def changed(scores: Encoded) -> float:
        pairs = zip(_top(scores, histories), expected, strict=True)
        return 1.0 - float(np.mean([len(np.intersect1d(*pair)) / TOP for pair in pairs]))

    whole = changed(ask)
    restored = {ITEM_TABLE: changed(scores_of(tabled, histories))}
    sources = _variables(floats)
    for layer, variables in _variables(model).items():
        with _assigned(variables, sources[layer]):
            restored[layer] = changed(ask)
    found = [Blame(name, value, (whole - value) / whole if whole else 0.0) for name, value in restored.items()]
    found.sort(key=lambda each: (-each.share, each.layer))
    return Blamed(stored.recipe.name, len(histories), whole, tuple(found))


def _variables(model: DeviceModel) -> dict[str, list[tf.Variable]]:
    """What may be restored beside the table, by layer."""
    return {
        f"{encoder.name}/{layer.name}": [layer.kernel]
        for encoder in (model.token_encoder, model.query_encoder)
        for layer in encoder.layers
        if isinstance(layer, tf_keras.layers.Dense)
    }


@contextmanager
def _assigned(variables: list[tf.Variable], values: list[tf.Variable]) -> Iterator[None]:
    """Other values for the time of the block."""
    before = [variable.numpy() for variable in variables]
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    yield
    for variable, old in zip(variables, before, strict=True):
        variable.assign(old)


def _top(scores: Encoded, histories: Histories) -> NDArray[np.int64]:
    """int64 [2n, TOP]: each history's best items, then each history's best new ones.

    Who buys again is shown what was bought before, which hardly depends on the encoders: new items do.
    """
    everything, items, own = scores(np.arange(len(histories)))
    both = torch.cat([everything.scatter(1, items, own), everything.scatter(1, items, -torch.inf)])
    both[:, 0] = -torch.inf
    return both.topk(min(TOP, both.shape[1] - 1), dim=1).indices.numpy()
