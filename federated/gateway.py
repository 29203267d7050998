"""A gateway's part of a round: open it for its people, wait, check, clip again, sum."""

import time

import numpy as np

from contracts.errors import WireError
from federated.aggregation import SUM_DTYPE, UPDATE_DTYPE, read_update, sum_updates
from federated.messages import GatewaySum, OpenRound
from sync_server.rounds import collect, open_round
from sync_server.store import Store

POLL_SECONDS = 0.5  # between two looks into the store


def answer(opening: OpenRound, store: Store) -> GatewaySum:
    """Open the round for the gateway's people, wait for their phones, and sum what they handed in.

    The wait ends when everybody has answered, at the deadline on the server's clock, or when patience is over. The
    gateway keeps nothing: asked again, it finds its tasks in the store.

    Args:
        opening: what the ServerApp asked for; nobody to ask is answered at once with an empty sum.
        store: the sync server's.

    Raises:
        WireError: if the adapter is not a whole number of float32.
    """
    if opening.people:
        tasks = open_round(
            store,
            opening.round_id,
            opening.gateway,
            opening.people,
            bundle_version=opening.bundle_version,
            adapter=opening.adapter,
            clipping_norm=opening.clipping_norm,
            learning_rate=opening.learning_rate,
            epochs=opening.epochs,
            deadline=opening.deadline,
        )
        give_up = time.monotonic() + opening.patience_seconds
        while (
            len(collect(store, opening.round_id, opening.gateway)) < tasks
            and store.now_ms() < opening.deadline
            and time.monotonic() < give_up
        ):
            time.sleep(POLL_SECONDS)
    return sum_of(opening, [delta for _, delta in collect(store, opening.round_id, opening.gateway)])


def sum_of(opening: OpenRound, deltas: list[bytes]) -> GatewaySum:
    """The sum of what phones handed in; what is malformed is counted and left out, never repaired."""
    dimension = len(opening.adapter) // UPDATE_DTYPE.itemsize
    updates: list[np.ndarray] = []
    for delta in deltas:
        try:
            updates.append(read_update(delta, dimension))
        except WireError:
            continue
    total = sum_updates(updates, dimension, opening.clipping_norm)
    return GatewaySum(
        round_id=opening.round_id,
        gateway=opening.gateway,
        total=total.astype(SUM_DTYPE).tobytes(),
        updates=len(updates),
        refused=len(deltas) - len(updates),
    )
