"""What a phone is asked in a federated round, and what it hands back.

The adapter is a flat float32 vector, little endian, in the order and shapes of the manifest's `adapter`.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.events import Count, Identity

MAX_ADAPTER_FLOATS = 4096


class RoundTask(msgspec.Struct, frozen=True, kw_only=True):
    task_id: Identity  # secret and of this person alone: whoever holds it may answer once
    round_id: Identity
    bundle_version: Count  # the bundle whose model.train.tflite is to be trained
    adapter: Annotated[bytes, Meta(max_length=4 * MAX_ADAPTER_FLOATS)]  # float32 [d], where training starts
    clipping_norm: float  # global L2 over all adapter floats
    learning_rate: float
    epochs: Annotated[int, Meta(ge=1, le=100)]  # passes over the phone's own examples
    deadline: int  # milliseconds since 1970, the server's clock; later updates are dropped


class RoundUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/rounds/{task_id}`: trained minus received adapter, clipped. No loss, no count: those would leak."""

    task_id: Identity
    delta: Annotated[bytes, Meta(max_length=4 * MAX_ADAPTER_FLOATS)]  # float32 [d]


class RoundReceipt(msgspec.Struct, frozen=True, kw_only=True):
    accepted: bool
    reason: str = ""
