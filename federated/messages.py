"""What the ServerApp and a gateway say to each other, inside Flower's messages."""

from typing import TypeVar

import msgspec
from flwr.app import ConfigRecord, Message, RecordDict

from contracts import codec
from contracts.errors import WireError

Body = TypeVar("Body", "OpenRound", "GatewaySum")

_RECORD = "round"
_FIELD = "payload"
_FORMAT = "application/msgpack"


class OpenRound(msgspec.Struct, frozen=True, kw_only=True):
    """Open a round for these people, wait, and reply with their sum."""

    round_id: str
    gateway: str
    people: tuple[int, ...]  # of the cohort, this gateway's share: a secret of the trusted side
    bundle_version: int
    adapter: bytes  # float32 [d]
    clipping_norm: float
    learning_rate: float
    epochs: int
    deadline: int  # milliseconds since 1970, the server's clock
    patience_seconds: float  # to wait at most, on the machine's clock, whatever the server's says


class GatewaySum(msgspec.Struct, frozen=True, kw_only=True):
    """The sum of a gateway's clipped updates; the counts stay on the trusted side."""

    round_id: str
    gateway: str
    total: bytes  # float64 [d]
    updates: int  # that are in the sum
    refused: int  # that were malformed


def _payload(message: Message) -> bytes:
    record = message.content.config_records.get(_RECORD)
    payload = record.get(_FIELD) if record else None
    if not isinstance(payload, bytes):
        raise WireError(f"message carries no {_RECORD}: it is not one of this app")
    return payload


def pack(value: OpenRound | GatewaySum) -> RecordDict:
    return RecordDict({_RECORD: ConfigRecord({_FIELD: codec.encode(value, _FORMAT)})})


def unpack(message: Message, type: type[Body]) -> Body:
    """Raises WireError if the message carries something else."""
    return codec.decode(_payload(message), type, _FORMAT)
