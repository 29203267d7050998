"""The rounds as the ServerApp plays them, whoever carries the messages."""

import logging
import math
import random
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from contracts.errors import CheckFailed
from contracts.noise import NoiseSource, secure_noise
from export.durable import PRIVATE, write_durably
from federated.aggregation import SUM_DTYPE
from federated.checkpoint import Checkpoint, RoundCounts
from federated.ledger import Ledger
from federated.messages import GatewaySum, OpenRound
from federated.release import release, resume
from federated.sampling import draw_cohort, share_cohort
from federated.settings import FederatedSettings
from sync_server.rounds import close_round, enrolled_people
from sync_server.store import Store

Ask = Callable[[Sequence[OpenRound]], Sequence[GatewaySum]]
"""Carries the messages, one to each gateway; returns what came back in time, in any order."""

_ROUNDING = 1e-9  # by how much, relatively, a sum of float64 may exceed the sum of its bounds
_log = logging.getLogger(__name__)


def play_rounds(
    settings: FederatedSettings,
    store: Store,
    ask: Ask,
    noise: NoiseSource = secure_noise,
    coins: random.Random | None = None,
) -> Checkpoint:
    """Play rounds until as many are complete as the settings ask for, those of an interrupted run included.

    Args:
        settings: of the run.
        store: the sync server's.
        ask: carries the messages to the gateways.
        noise, coins: the operating system's entropy unless a simulation seeds its own, and says so.

    Raises:
        PrivacyError: if the budget would be passed, the ledger is behind, or another run holds it.
        CheckFailed: if nobody is enrolled or no gateway answers; nothing is charged for such a round.
        RunError: if the checkpoint belongs to another bundle.
    """
    settings.check()
    state = Path(settings.state)
    state.mkdir(parents=True, exist_ok=True)
    key = _gateway_key(state / "gateway.key")
    with Ledger(Path(settings.ledger)) as ledger:
        checkpoint = resume(
            settings.checkpoint_path, ledger, settings.bundle_version, settings.adapter, settings.optimizer
        )
        while len(checkpoint.rounds) < settings.rounds:
            checkpoint = _play_round(settings, store, ask, ledger, checkpoint, key, noise, coins)
    return checkpoint


def _play_round(
    settings: FederatedSettings,
    store: Store,
    ask: Ask,
    ledger: Ledger,
    checkpoint: Checkpoint,
    key: bytes,
    noise: NoiseSource,
    coins: random.Random | None,
) -> Checkpoint:
    mechanism = settings.mechanism
    ledger.afford(mechanism.charge, mechanism.budget)  # before phones train for nothing
    enrolled = enrolled_people(store)
    if not enrolled:
        raise CheckFailed("nobody is enrolled for federated training: a round needs people who opted in")
    cohort = draw_cohort(enrolled, settings.sampling_rate, coins)
    round_id = secrets.token_hex(16)
    deadline = store.now_ms() + math.ceil(settings.round_seconds * 1000)
    openings = [
        OpenRound(
            round_id=round_id,
            gateway=f"gateway-{number}",
            people=share,
            bundle_version=settings.bundle_version,
            adapter=checkpoint.adapter,
            clipping_norm=settings.clipping_norm,
            learning_rate=settings.learning_rate,
            epochs=settings.epochs,
            deadline=deadline,
            patience_seconds=settings.wait_seconds,
        )
        for number, share in enumerate(share_cohort(cohort, settings.gateways, key))
    ]
    try:
        sums = sums_that_hold(openings, ask(openings))
    finally:
        close_round(store, round_id)  # also what a gateway left open that died
    if not sums:
        raise CheckFailed(
            f"none of the {settings.gateways} gateways answered round {round_id}: nothing was charged, see their logs"
        )
    counts = RoundCounts(
        round_id=round_id,
        people_enrolled=len(enrolled),
        people_sampled=len(cohort),
        updates=sum(reply.updates for reply in sums),
        refused=sum(reply.refused for reply in sums),
        gateways=len(sums),
    )
    total = np.sum([np.frombuffer(reply.total, dtype=SUM_DTYPE) for reply in sums], axis=0)
    steps = release(settings.checkpoint_path, ledger, checkpoint, total, counts, mechanism, settings.optimizer, noise)
    *_, (_, checkpoint) = steps
    return checkpoint


def sums_that_hold(openings: Sequence[OpenRound], replies: Sequence[GatewaySum]) -> list[GatewaySum]:
    """One reply per gateway, of this round, finite, and no longer than its updates allow.

    A gateway is trusted with what phones sent, not with being free of faults: a reply that cannot be a sum of clipped
    updates counts as a missing one.
    """
    asked = {opening.gateway: opening for opening in openings}
    held: dict[str, GatewaySum] = {}
    for reply in replies:
        opening = asked.get(reply.gateway)
        if opening is None or reply.round_id != opening.round_id or reply.gateway in held:
            continue
        total = np.frombuffer(reply.total, dtype=SUM_DTYPE) if len(reply.total) == 2 * len(opening.adapter) else None
        if (
            total is None
            or not 0 <= reply.updates <= len(opening.people)
            or not np.linalg.norm(total) <= reply.updates * opening.clipping_norm * (1 + _ROUNDING)  # false for NaN
        ):
            _log.warning(
                "%s handed back no sum of clipped updates: left out of round %s", reply.gateway, reply.round_id
            )
            continue
        held[reply.gateway] = reply
    return list(held.values())


def _gateway_key(path: Path) -> bytes:
    """The secret that assigns people to gateways, made on first use."""
    if not path.exists():
        write_durably(path, secrets.token_bytes(32), PRIVATE)
    return path.read_bytes()
