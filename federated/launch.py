"""Plays rounds with real Flower processes on loopback, and stops them all whatever happens."""

import tempfile
import time
from pathlib import Path

import msgspec

from contracts import errors
from contracts.errors import CheckFailed, PocketrecError, RunError
from federated.checkpoint import load_checkpoint
from federated.ledger import Ledger, ledger_epsilon, read_ledger
from federated.processes import POLL_SECONDS, FlowerProcesses
from federated.release import resume
from federated.settings import FederatedReport, FederatedSettings, Outcome

STATUS_SECONDS = 15.0  # between two questions to Flower whether the run has failed without a word
MARGIN_SECONDS = 90.0  # per round, over what phones are waited for: messages, accounting, a busy machine


def run_rounds(settings: FederatedSettings) -> FederatedReport:
    """Play rounds until as many are complete as asked for; those of an interrupted run count.

    Starts a SuperLink, a SuperNode per gateway and the ServerApp as processes of their own on loopback, with TLS and
    node keys made for this run, and stops them before it returns or raises. Phones meet the round at the sync server.
    Whether the new adapter is published is decided afterwards, by `federated.gate`.

    Raises:
        ConfigError: if a setting is out of range.
        PrivacyError: if the budget would be passed, or the ledger is behind its checkpoint, changed or held.
        CheckFailed: if a process fails, nobody is enrolled, or no gateway answers.
        RunError: if the state folder belongs to another bundle.
    """
    settings.check()
    began = time.monotonic()
    state = Path(settings.state).absolute()
    state.mkdir(parents=True, exist_ok=True)
    settings = msgspec.structs.replace(settings, state=str(state), ledger=str(Path(settings.ledger).absolute()))
    if not _complete(settings):
        with tempfile.TemporaryDirectory(prefix="pocketrec-rounds-") as folder:
            _play(settings, Path(folder), state / "logs")
    return _report(settings, time.monotonic() - began)


def _complete(settings: FederatedSettings) -> bool:
    """Whether an earlier run left nothing to do but, perhaps, to apply a noised sum that is already there.

    If not, the next release must be affordable before any process is started.
    """
    with Ledger(Path(settings.ledger)) as ledger:
        checkpoint = resume(
            settings.checkpoint_path, ledger, settings.bundle_version, settings.adapter, settings.optimizer
        )
        complete = len(checkpoint.rounds) >= settings.rounds
        if not complete:
            ledger.afford(settings.mechanism.charge, settings.mechanism.budget)
    return complete


def _play(settings: FederatedSettings, folder: Path, logs: Path) -> None:
    settings_file, outcome_file = folder / "settings.json", folder / "outcome.json"
    settings_file.write_bytes(msgspec.json.encode(settings))
    node_config = {"store": settings.store, "clock_file": settings.clock_file or ""}
    with FlowerProcesses(folder, logs, settings.gateways, node_config, settings.startup_seconds) as flower:
        run = flower.start_run(
            {
                "settings": str(settings_file),
                "nodes": " ".join(map(str, flower.node_ids)),
                "outcome": str(outcome_file),
            }
        )
        give_up = (
            time.monotonic() + settings.startup_seconds + settings.rounds * (settings.wait_seconds + MARGIN_SECONDS)
        )
        ask_again = time.monotonic() + STATUS_SECONDS
        while not outcome_file.exists():
            flower.check_alive()
            if time.monotonic() > give_up:
                raise CheckFailed(f"{settings.rounds} rounds did not end in time: see {logs}")
            if time.monotonic() > ask_again:
                ended = flower.run_ended(run)
                if ended and not outcome_file.exists():
                    raise CheckFailed(f"the ServerApp ended without an outcome, {ended}: see {logs}")
                ask_again = time.monotonic() + STATUS_SECONDS
            time.sleep(POLL_SECONDS)
        outcome = msgspec.json.decode(outcome_file.read_bytes(), type=Outcome)
        give_up = time.monotonic() + STATUS_SECONDS
        while flower.run_ended(run) is None and time.monotonic() < give_up:  # the ServerApp takes its leave of Flower
            time.sleep(POLL_SECONDS)
    if outcome.error:
        raise getattr(errors, outcome.error, PocketrecError)(outcome.message)


def _report(settings: FederatedSettings, seconds: float) -> FederatedReport:
    checkpoint = load_checkpoint(settings.checkpoint_path)
    if checkpoint is None or not checkpoint.rounds:
        raise RunError(f"state folder {settings.state} holds no completed round: run the rounds again")
    entries = read_ledger(Path(settings.ledger))
    return FederatedReport(
        rounds=len(checkpoint.rounds),
        people_enrolled=checkpoint.rounds[-1].people_enrolled,
        people_sampled=sum(counts.people_sampled for counts in checkpoint.rounds),
        updates=sum(counts.updates for counts in checkpoint.rounds),
        refused=sum(counts.refused for counts in checkpoint.rounds),
        clipping_norm=settings.clipping_norm,
        noise_multiplier=settings.noise_multiplier,
        sampling_rate=settings.sampling_rate,
        epsilon=ledger_epsilon(entries, settings.delta),
        delta=settings.delta,
        charges=len(entries),
        adapter_before=checkpoint.initial_adapter,
        adapter_after=checkpoint.adapter,
        seconds=seconds,
    )
