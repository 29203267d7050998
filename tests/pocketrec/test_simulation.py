"""The simulate step on a small log: real phones, a real server, a count that does not trust either."""

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from contracts.errors import BundleError, RunError
from device_sim import members
from export.repository import publish
from pocketrec.preparation import PREPARE
from pocketrec.progress import Progress
from pocketrec.project_file import ProjectFile, read_project
from pocketrec.run_directory import RunDirectory, open_run
from pocketrec.simulation import SIMULATE, load_simulation
from pocketrec.steps import Step, StepContext, StepOutcome, run_steps
from pocketrec.world import World

START_S = 1_700_000_400
WEEK_S = 7 * 24 * 3600
PROJECT = """
[data]
source = "sales.csv"
columns = { order = "order", price = "price" }
[split]
test_weeks = 2
validation_weeks = 2
[fleet]
phones = 2
"""


@pytest.fixture
def file(tmp_path: Path) -> ProjectFile:
    draw = random.Random(3)
    rows = []
    for person in range(10):
        for order in range(24):
            time = START_S + draw.randrange(8 * WEEK_S)
            rows += [(f"p{person}", f"i{item}", time, f"{person}-{order}", 1.5) for item in draw.sample(range(8), 2)]
    pl.DataFrame(rows, ["person", "item", "time", "order", "price"], orient="row").write_csv(tmp_path / "sales.csv")
    (tmp_path / "pocketrec.toml").write_text(PROJECT)
    return read_project(tmp_path / "pocketrec.toml")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with open_run(tmp_path / "run") as directory:
        yield directory


@pytest.fixture
def release(write_bundle: Callable) -> Step:
    """Publishes a bundle whose model is a few bytes: the phones must refuse it and sync all the same."""

    def work(context: StepContext) -> None:
        repository = context.run.repository
        if not repository.exists():
            write_bundle(context.run.path / "tiny")
            publish(context.run.path / "tiny", repository, context.run.keys)
        shutil.copytree(repository, context.folder / "repository")

    return Step(name="publish", work=work, sources=())


def simulate(file: ProjectFile, run: RunDirectory, release: Step) -> StepOutcome:
    return run_steps([PREPARE, release, SIMULATE], run, file, Progress())[SIMULATE.name]


def test_nothing_is_lost_and_nothing_counted_twice(file: ProjectFile, run: RunDirectory, release: Step) -> None:
    assert not simulate(file, run, release).reused
    found = load_simulation(run.folder(SIMULATE.name))
    assert (found.report.phones, found.count.lost, found.count.double_counted) == (2, 0, 0)
    assert (found.profiles, found.merged_profiles, found.report.recommendations) == (2, 2, 0)
    assert found.count.created == found.count.held > 2 * 24 * 2
    assert found.report.lost_answers > 0
    assert simulate(file, run, release).reused


def test_a_world_goes_on_in_a_copy(file: ProjectFile, run: RunDirectory, release: Step, tmp_path: Path) -> None:
    simulate(file, run, release)
    before = run.folder(SIMULATE.name)
    bytes_before = {path: path.read_bytes() for path in before.rglob("*") if path.is_file()}
    world = World.go_on(before, tmp_path / "copy", run, file.project, run.folder(PREPARE.name))
    with world.fleet() as fleet:
        fleet.drain()
        again = fleet.report()
    assert again.created == ()
    assert again.profiles == load_simulation(before).report.profiles
    assert len(list(world.held_events())) == load_simulation(before).count.held
    assert {path: path.read_bytes() for path in before.rglob("*") if path.is_file()} == bytes_before


def test_an_event_that_the_server_lost_is_counted(
    file: ProjectFile, run: RunDirectory, release: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One event is taken out of the database between the phones' last sync and the count."""
    close = members.Fleet.close

    def close_then_lose(fleet: members.Fleet) -> None:
        close(fleet)
        database = run.path / ".simulate.partial" / "server" / "sync.sqlite"
        with sqlite3.connect(database) as connection:
            connection.execute("DELETE FROM events WHERE seq = 3 AND device_id = (SELECT min(device_id) FROM events)")
        connection.close()

    monkeypatch.setattr(members.Fleet, "close", close_then_lose)
    simulate(file, run, release)
    count = load_simulation(run.folder(SIMULATE.name)).count
    assert (count.lost, count.double_counted) == (1, 0)


def test_without_a_bundle_or_people_nothing_is_simulated(file: ProjectFile, run: RunDirectory, release: Step) -> None:
    def nothing(context: StepContext) -> None:
        (context.folder / "repository" / "metadata").mkdir(parents=True)

    with pytest.raises(BundleError, match="holds no"):
        simulate(file, run, Step(name="publish", work=nothing, sources=()))
    (file.folder / "pocketrec.toml").write_text(PROJECT.replace("phones = 2", "phones = 0"))
    with pytest.raises(RunError, match="no person was set apart"):
        simulate(read_project(file.folder / "pocketrec.toml"), run, release)
    assert not run.folder(SIMULATE.name).exists()
