"""The step that lets simulated phones live against a real sync server, and counts what they did independently."""

from pathlib import Path

import msgspec

from contracts.errors import RunError
from device_sim.count import IndependentCount
from device_sim.members import FleetReport
from pocketrec.preparation import PREPARE
from pocketrec.publication import PUBLISH, REPOSITORY
from pocketrec.steps import Step, StepContext
from pocketrec.world import World

RESULT = "simulation.json"


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """What the phones lived through (`report.created` is left empty: it is counted), and what the server holds."""

    report: FleetReport
    count: IndependentCount
    profiles: int  # on the server
    merged_profiles: int  # of these, how many unify several owners


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
    from device_sim.count import count_independently
    from device_sim.fleet import Replay
    from sync_server.census import count_merged_profiles, count_profiles
    from sync_server.sql_store import open_store

    folder = context.folder
    world = World.begin(
        folder, context.run, context.project, context.inputs[PREPARE.name], context.inputs[PUBLISH.name] / REPOSITORY
    )
    with world.fleet() as fleet:
        Replay(fleet).run(lambda done, total: context.progress("events of the phones' lives", done, total))
        fleet.drain()
        report = fleet.report()
    store = open_store(world.settings.database_url)
    try:
        result = Simulation(
            report=msgspec.structs.replace(report, created=()),
            count=count_independently(report.created, world.held_events(), world.plan, report.profiles),
            profiles=count_profiles(store),
            merged_profiles=count_merged_profiles(store),
        )
    finally:
        store.close()
    (folder / RESULT).write_bytes(msgspec.json.encode(result))


SIMULATE = Step(
    name="simulate",
    work=_work,
    needs=(PREPARE.name, PUBLISH.name),
    sources=("pocketrec.simulation", "sync_server.__main__", "sync_server.app"),
    settings=lambda project: (project.fleet, project.project),
)
