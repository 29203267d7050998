"""The step that lets simulated phones live against a real sync server, and counts what they did independently."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from contracts.errors import CheckFailed, RunError
from contracts.events import Event
from device_sim.count import IndependentCount
from device_sim.members import FleetReport
from pocketrec.preparation import PREPARE
from pocketrec.project_file import ProjectFile
from pocketrec.run_directory import RunDirectory
from pocketrec.service import DATABASE, own_identity_key, server_settings, staff_token
from pocketrec.steps import Step, StepContext
from sync_server.settings import ServerSettings

CLOCK, SETTINGS, RESULT = "clock", "server.json", "simulation.json"
STOP_SECONDS = 60.0  # for the server to finish what it took


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """What the phones lived through (`report.created` is left empty: it is counted), and what the server holds."""

    report: FleetReport
    count: IndependentCount
    profiles: int  # on the server
    merged_profiles: int  # of these, how many unify several owners


@contextmanager
def serving(settings: ServerSettings, file: Path) -> Iterator[str]:
    """A sync server in a process of its own, on loopback, that ends with the block; yields its address.

    Args:
        file: receives the settings, readable by its owner only: they hold the staff's token.

    Raises:
        CheckFailed: if the server does not start; what it said is on standard error.
    """
    file.touch(mode=0o600)
    file.write_bytes(msgspec.json.encode(settings))
    command = [sys.executable, "-m", "sync_server", "--settings", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip().rpartition(" ")[2]
            if not address:
                raise CheckFailed("the sync server did not start: see what it said above")
            yield address
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def load_simulation(folder: Path) -> Simulation:
    """What the step left behind.

    Raises:
        RunError: if the folder holds no simulation.
    """
    try:
        return msgspec.json.decode((folder / RESULT).read_bytes(), type=Simulation)
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{folder} holds no simulation ({error}): run pocketrec simulate") from None


def _work(context: StepContext) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from device_sim.clock import FleetTime
    from device_sim.count import count_independently
    from device_sim.fleet import run_fleet
    from device_sim.identity_provider import IdentityProvider
    from export.repository import trusted_root
    from pocketrec.households import fleet_plan
    from sync_server.audit import count_merged_profiles, count_profiles
    from sync_server.sql_store import open_store
    from training.prepared import load_prepared

    folder, run, project = context.folder, context.run, context.project
    root = trusted_root(run.repository)
    plan = fleet_plan(load_prepared(context.inputs[PREPARE.name]), project.project.seed)
    if not plan.households:
        raise RunError("no person was set apart for a phone: raise [fleet] phones, or give a longer log")
    time = FleetTime(plan.begins_ms, folder / CLOCK)
    identity = Ed25519PrivateKey.from_private_bytes(own_identity_key(run))
    provider = IdentityProvider(project.project.name, time.now_ms, identity)
    settings = server_settings(run, project, folder / "server", clock_file=folder / CLOCK)
    with serving(settings, folder / SETTINGS) as url:
        report = run_fleet(
            plan,
            url,
            folder / "devices",
            root,
            staff_token(run),
            provider,
            time,
            lambda done, total: context.progress("events of the phones' lives", done, total),
        )
    store = open_store(settings.database_url)
    try:
        result = Simulation(
            report=msgspec.structs.replace(report, created=()),
            count=count_independently(report.created, held_events(folder), plan, report.profiles),
            profiles=count_profiles(store),
            merged_profiles=count_merged_profiles(store),
        )
    finally:
        store.close()
    (folder / RESULT).write_bytes(msgspec.json.encode(result))


def held_events(folder: Path) -> Iterator[Event]:
    """What lies in the server's database, read past the server and its code."""
    import sqlite3

    connection = sqlite3.connect(f"file:{folder / 'server' / DATABASE}?mode=ro", uri=True)
    try:
        for (payload,) in connection.execute("SELECT payload FROM events WHERE verdict = 'accepted'"):
            yield msgspec.json.decode(payload, type=Event)
    finally:
        connection.close()


def _fingerprint(file: ProjectFile, run: RunDirectory) -> str:
    """What is published: a publication writes a new timestamp."""
    timestamp = run.repository / "metadata" / "timestamp.json"
    return hashlib.sha256(timestamp.read_bytes()).hexdigest() if timestamp.is_file() else ""


SIMULATE = Step(
    name="simulate",
    work=_work,
    needs=(PREPARE.name,),
    sources=("pocketrec.simulation", "sync_server.__main__", "sync_server.app"),
    settings=lambda project: (project.fleet, project.project),
    fingerprint=_fingerprint,
)
