"""Flower carries a round's messages unchanged, and a message of somebody else is refused."""

import pytest
from flwr.app import ConfigRecord, Message, Metadata, RecordDict
from flwr.app.message import make_message

from contracts.errors import WireError
from federated.messages import GatewaySum, OpenRound, pack, unpack

OPENING = OpenRound(
    round_id="r",
    gateway="gateway-1",
    people=(3, 2**40),
    bundle_version=7,
    adapter=b"\x00\x00\x80\x3f",
    clipping_norm=0.1,
    learning_rate=0.3,
    epochs=2,
    deadline=2**52,
    patience_seconds=1.5,
)
SUM = GatewaySum(round_id="r", gateway="gateway-1", total=bytes(8), updates=2, refused=1)


def message(content: RecordDict) -> Message:
    metadata = Metadata(
        run_id=1,
        message_id="",
        src_node_id=1,
        dst_node_id=2,
        reply_to_message_id="",
        group_id="r",
        created_at=0.0,
        ttl=60.0,
        message_type="train",
    )
    return make_message(metadata=metadata, content=content)


@pytest.mark.parametrize("value", [OPENING, SUM])
def test_round_trip(value):
    assert unpack(message(pack(value)), type(value)) == value


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"round": ConfigRecord()}),
        RecordDict({"round": ConfigRecord({"payload": "text"})}),
        RecordDict({"round": ConfigRecord({"payload": b"\xc1"})}),
        pack(SUM),
    ],
)
def test_anything_else_is_refused(content):
    with pytest.raises(WireError):
        unpack(message(content), OpenRound)
