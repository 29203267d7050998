"""The step that plays federated rounds with the simulated phones, over real Flower processes, and asks the gate."""

import hashlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from contracts.errors import PocketrecError, RunError
from device_sim.phone import TimelineEntry
from export.verify import read_manifest
from federated.gate import GateDecision
from federated.ledger import LedgerEntry
from federated.settings import FederatedReport, FederatedSettings
from pocketrec.exporting import BUNDLE, EXPORT
from pocketrec.model_steps import COMPRESS
from pocketrec.preparation import PREPARE
from pocketrec.simulation import SIMULATE
from pocketrec.steps import Step, StepContext
from pocketrec.world import World

if TYPE_CHECKING:
    from device_sim.members import Fleet

RESULT = "federation.json"
HELD_OUT_PEOPLE = 500  # of the gate: central people, whose phones take no part
ROUND_SECONDS = 24 * 3600.0  # of the fleet's time, in which a lost answer costs minutes
PATIENCE_SECONDS = 120.0  # of the machine's time
IDLE_SECONDS = 15.0  # without a further update, after which the fleet's time goes on to the deadline
POLL_SECONDS = 1.0


class Federation(msgspec.Struct, frozen=True, kw_only=True):
    """What the rounds did, what they cost, and what became of it."""

    report: FederatedReport
    ledger: tuple[LedgerEntry, ...]
    epsilon_prv: float  # the second accountant's
    coverage: str  # whom epsilon covers, in sentences
    gate: GateDecision
    consented: int  # phones whose person allows federated training
    timelines: dict[str, tuple[TimelineEntry, ...]]  # login -> what its phone lived through meanwhile


def load_federation(folder: Path) -> Federation:
    """What the step left behind.

    Raises:
        RunError: if the folder holds no rounds.
    """
    try:
        return msgspec.json.decode((folder / RESULT).read_bytes(), type=Federation)
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{folder} holds no federated rounds ({error}): run pocketrec federate") from None


class _Rounds(threading.Thread):
    """The rounds, while the phones' side goes on in the main thread."""

    def __init__(self, settings: FederatedSettings) -> None:
        super().__init__(name="rounds", daemon=True)
        self._settings = settings
        self._report: FederatedReport | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        from federated.launch import run_rounds

        try:
            self._report = run_rounds(self._settings)
        except BaseException as error:  # raised again where the thread is joined
            self._error = error

    def result(self) -> FederatedReport:
        self.join()
        if self._error is not None:
            raise self._error
        if self._report is None:
            raise PocketrecError("the rounds ended without a report: see the logs beside the privacy ledger")
        return self._report


def _work(context: StepContext) -> None:
    from compression.coding import load_prepared_as
    from federated.coverage import coverage
    from federated.ledger import read_ledger
    from pocketrec.adapter_gate import bundled_adapter, judge
    from pocketrec.artifact_quality import test_task
    from training.privacy_crosscheck import prv_epsilon
    from training.segments import fit_segments

    folder, project, bundle = context.folder, context.project, context.inputs[EXPORT.name] / BUNDLE
    world = World.go_on(
        context.inputs[SIMULATE.name], folder, context.run, context.project, context.inputs[PREPARE.name]
    )
    old = bundled_adapter(bundle)
    with world.fleet() as fleet:
        rounds = _Rounds(_settings(context, world, bundle, old))
        rounds.start()
        _live_on(fleet, rounds, context)
        report = rounds.result()
        timelines = {phone.household.login: tuple(phone.device.timeline) for phone in fleet.phones}
    prepared = load_prepared_as(context.inputs[PREPARE.name], context.inputs[COMPRESS.name])
    seed = project.project.seed
    task = test_task(prepared, fit_segments(prepared, seed), read_manifest(bundle).history_length)
    held_out = task.of_some_people(HELD_OUT_PEOPLE, seed)
    new = np.frombuffer(report.adapter_after, "<f4")
    gate = judge(bundle, old, new, held_out, seed, context.progress)
    entries = read_ledger(context.run.ledger)
    result = Federation(
        report=report,
        ledger=entries,
        epsilon_prv=prv_epsilon((entry.charge for entry in entries), report.delta),
        coverage=coverage(entries, report.delta),
        gate=gate,
        consented=sum(home.federated for home in world.plan.households),
        timelines=timelines,
    )
    (folder / RESULT).write_bytes(msgspec.json.encode(result))


def _live_on(fleet: "Fleet", rounds: _Rounds, context: StepContext) -> None:
    """Let phones sync while rounds are under way; who cannot answer is waited for until the fleet's time is over."""
    updates, last = 0, time.monotonic()
    expected = context.project.federated.rounds * sum(home.federated for home in fleet.plan.households)
    for member in fleet.members:
        member.network.online = True
    while rounds.is_alive():
        handed_in = fleet.sync_all()
        if handed_in:
            updates, last = updates + handed_in, time.monotonic()
        elif updates and time.monotonic() - last > IDLE_SECONDS:
            fleet.time.advance_to(fleet.time.now_ms() + int(ROUND_SECONDS * 1000))
            last = time.monotonic()
        context.progress("updates", min(updates, expected), expected)
        rounds.join(POLL_SECONDS)


def _settings(context: StepContext, world: World, bundle: Path, adapter: np.ndarray) -> FederatedSettings:
    section, manifest = context.project.federated, read_manifest(bundle)
    mechanism = msgspec.json.encode(
        [msgspec.structs.replace(section, rounds=1), manifest.model_version, manifest.bundle_version],
        order="deterministic",
    )
    # A released adapter was paid for: the same bundle under the same mechanism goes on from it, charging nothing again.
    state = context.run.ledger.parent / f"rounds-{hashlib.sha256(mechanism).hexdigest()[:16]}"
    return FederatedSettings(
        store=world.settings.database_url,
        state=str(state),
        ledger=str(context.run.ledger),
        bundle_version=manifest.bundle_version,
        adapter=adapter.astype("<f4").tobytes(),
        rounds=section.rounds,
        gateways=section.gateways,
        sampling_rate=section.sampling_rate,
        clipping_norm=section.clipping_norm,
        noise_multiplier=section.noise_multiplier,
        delta=section.delta,
        epsilon_budget=section.epsilon_budget,
        learning_rate=section.learning_rate,
        epochs=section.epochs,
        clock_file=str(world.clock.resolve()),
        round_seconds=ROUND_SECONDS,
        patience_seconds=PATIENCE_SECONDS,
    )


FEDERATE = Step(
    name="federate",
    work=_work,
    needs=(PREPARE.name, COMPRESS.name, EXPORT.name, SIMULATE.name),
    sources=("pocketrec.federation", "sync_server.__main__", "sync_server.app", "federated.server_app"),
    settings=lambda project: (project.federated, project.project),
)
