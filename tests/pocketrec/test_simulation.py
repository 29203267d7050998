"""`simulate` on a small log: real phones, a real server, a count that does not trust either."""

import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from export.keys import create_keys
from pocketrec.cli import run
from pocketrec.run_directory import open_run
from pocketrec.simulation import held_events, load_simulation

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
Say = Callable[..., tuple[int, dict]]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Run a verb with --json in a folder with a project and a log: exit code and the one object on standard output."""
    monkeypatch.chdir(tmp_path)
    draw = random.Random(3)
    rows = []
    for person in range(10):
        for order in range(24):
            time = START_S + draw.randrange(8 * WEEK_S)
            rows += [(f"p{person}", f"i{item}", time, f"{person}-{order}", 1.5) for item in draw.sample(range(8), 2)]
    pl.DataFrame(rows, ["person", "item", "time", "order", "price"], orient="row").write_csv("sales.csv")
    Path("pocketrec.toml").write_text(PROJECT)

    def say(*arguments: str) -> tuple[int, dict]:
        code = run([*arguments, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return say


def test_phones_need_a_published_bundle(say: Say) -> None:
    code, said = say("simulate")
    assert code == 2
    assert said["error"].endswith("holds no TUF root: publish a bundle first")
    assert not Path("runs/pocketrec/simulate").exists()


def test_nothing_is_lost_and_nothing_counted_twice(say: Say, write_bundle: Callable) -> None:
    """The bundle's model is a few bytes: the phones must refuse it and sync all the same."""
    with open_run(Path("runs/pocketrec")) as directory:
        write_bundle(directory.bundle)
        create_keys(directory.keys)
    assert say("publish")[0] == 0
    code, said = say("simulate")
    assert code == 0
    fleet = said["fleet"]
    assert (fleet["phones"], fleet["lost"], fleet["double_counted"]) == (2, 0, 0)
    assert (fleet["profiles"], fleet["merged_profiles"], fleet["recommendations"]) == (2, 2, 0)
    assert fleet["events_created"] == fleet["events_on_server"] > 2 * 24 * 2

    folder = Path("runs/pocketrec/simulate")
    assert len(list(held_events(folder))) == fleet["events_on_server"]
    assert load_simulation(folder).report.lost_answers > 0
    code, again = say("simulate")
    assert (code, again["reused"], again["fleet"]) == (0, True, fleet)


def test_a_server_that_lost_an_event_fails_the_check(
    say: Say, write_bundle: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One event is taken out of the database between the phones' last sync and the count."""
    from device_sim import fleet

    with open_run(Path("runs/pocketrec")) as directory:
        write_bundle(directory.bundle)
        create_keys(directory.keys)
    assert say("publish")[0] == 0
    live = fleet.run_fleet

    def live_then_lose(*arguments: object) -> object:
        report = live(*arguments)  # type: ignore[arg-type]
        devices = arguments[2]
        assert isinstance(devices, Path)
        with sqlite3.connect(devices.parent / "server" / "sync.sqlite") as connection:
            connection.execute("DELETE FROM events WHERE seq = 3 AND device_id = (SELECT min(device_id) FROM events)")
        connection.close()
        return report

    monkeypatch.setattr(fleet, "run_fleet", live_then_lose)
    code, said = say("simulate")
    assert code == 1
    assert said["error"].startswith("1 events were lost and 0 counted twice")
