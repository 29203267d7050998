"""The Flower ClientApp of a gateway SuperNode: a stateless poller over the sync server's store.

Its node configuration: `store`, the database's address; `clock_file`, empty where the server reads the machine's clock.
"""

from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from federated.gateway import answer
from federated.messages import OpenRound, pack, unpack
from sync_server.clock import FileClock, SystemClock
from sync_server.sql_store import open_store

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    clock_file = str(context.node_config["clock_file"])
    store = open_store(str(context.node_config["store"]), FileClock(Path(clock_file)) if clock_file else SystemClock())
    try:
        return Message(pack(answer(unpack(message, OpenRound), store)), reply_to=message)
    finally:
        store.close()
