"""The Flower ServerApp: carries the messages of `federated.rounds` to the gateways and leaves an outcome behind.

Its run configuration: `settings`, the JSON file of `FederatedSettings`; `nodes`, the ids that the SuperLink registered
for gateway 0, 1, and so on; `outcome`, the file that says how it ended.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from flwr.app import Context, Message, MessageType
from flwr.serverapp import Grid, ServerApp

from contracts.errors import PocketrecError, WireError
from export.durable import PRIVATE, write_durably
from federated.messages import GatewaySum, OpenRound, pack, unpack
from federated.rounds import play_rounds
from federated.settings import FederatedSettings, Outcome
from sync_server.sql_store import open_store

POLL_SECONDS = 0.2
GRACE_SECONDS = 30.0  # for a gateway to start its app and to reply, on top of its patience

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    settings = msgspec.json.decode(Path(str(context.run_config["settings"])).read_bytes(), type=FederatedSettings)
    nodes = [int(node) for node in str(context.run_config["nodes"]).split()]
    try:
        store = open_store(settings.store, settings.clock)
        try:
            await_nodes(grid, nodes, settings.startup_seconds)
            play_rounds(settings, store, lambda openings: ask_gateways(grid, nodes, openings))
        finally:
            store.close()
        outcome = Outcome()
    except PocketrecError as error:
        outcome = Outcome(error=type(error).__name__, message=str(error))
    write_durably(Path(str(context.run_config["outcome"])), msgspec.json.encode(outcome), PRIVATE)


def await_nodes(grid: Grid, nodes: Sequence[int], seconds: float) -> None:
    """Wait until all gateways are online, or the time is up: who is missing then is missing from the round."""
    give_up = time.monotonic() + seconds
    while not set(nodes) <= set(grid.get_node_ids()) and time.monotonic() < give_up:
        time.sleep(POLL_SECONDS)


def ask_gateways(grid: Grid, nodes: Sequence[int], openings: Sequence[OpenRound]) -> list[GatewaySum]:
    """Send each gateway its opening; the sums that came back in time.

    A message lives no longer than the wait for its reply: a gateway that comes back later finds nothing to open.
    """
    timeout = max(opening.patience_seconds for opening in openings) + GRACE_SECONDS
    online = set(grid.get_node_ids())
    messages = [
        Message(pack(opening), dst_node_id=node, message_type=MessageType.TRAIN, ttl=timeout, group_id=opening.round_id)
        for node, opening in zip(nodes, openings, strict=True)
        if node in online
    ]
    replies = []
    for message in grid.send_and_receive(messages, timeout=timeout) if messages else ():
        if message.has_content():  # an error instead of content is a missing gateway
            try:
                replies.append(unpack(message, GatewaySum))
            except WireError:
                continue
    return replies
