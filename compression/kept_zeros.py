"""What was pruned stays pruned while a finished model is trained further."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from compression.device_model import DeviceModel


@contextmanager
def zeros_kept(model: "DeviceModel") -> Iterator[None]:
    """The zeros that the kernels of a model's encoders have before the block are zeros again after it."""
    encoders = (model.token_encoder, model.query_encoder)
    masks = [[weight == 0.0 for weight in encoder.get_weights()] for encoder in encoders]
    yield
    for encoder, zeros in zip(encoders, masks, strict=True):
        encoder.set_weights(
            [
                np.where(zero, 0.0, weight) if weight.ndim == 2 else weight
                for zero, weight in zip(zeros, encoder.get_weights(), strict=True)
            ]
        )
