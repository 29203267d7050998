"""Many seeds hold, each mutant turns one red, and a seed is all that a run depends on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.mutants import MUTANTS

ROOT = Path(__file__).parents[2]
SEEDS = int(os.environ.get("SIMULATION_SEEDS", "250"))  # 1,000 take less than five minutes on two idle processors
SECONDS = 300  # no run begins later: a slow machine tries fewer seeds, and says so
FEWEST_SEEDS = 50  # also on a slow machine
PROCESSES = 2
MUTANT_SEEDS = 40  # how many each mutant may need at most; each has needed one
REHEARSED = (  # what must have happened in many runs, or they would prove nothing
    "accepted event",
    "answer with gaps",
    "cloned phone",
    "conflict event",
    "crash after the commit, before the answer",
    "crash before a statement",
    "crash before the commit",
    "crash in an erasure",
    "crash in the midst of the commit",
    "delayed request",
    "doubled request",
    "duplicate event",
    "erasure",
    "event forgotten",
    "event given up",
    "lifted separation",
    "lost answer",
    "lost request",
    "power loss",
    "quarantined event",
    "refused event",
    "refused request",
    "restored phone",
    "truncated request",
    "unmerge",
)


def simulate(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.simulation", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_what_devices_created_is_what_the_store_holds_whatever_fails(capsys: pytest.CaptureFixture[str]) -> None:
    share = -(-SEEDS // PROCESSES)
    running = [simulate(number * share, "--count", share, "--seconds", SECONDS) for number in range(PROCESSES)]
    said = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES, "\n".join(said)
    tallies = [json.loads(text.splitlines()[-1]) for text in said]
    held = sum(tally["seeds"] for tally in tallies)
    with capsys.disabled():
        print(f"\nsimulation: {held} of {SEEDS} seeds hold")
    assert held >= min(SEEDS, FEWEST_SEEDS)
    for what in REHEARSED:
        assert sum(tally.get(what, 0) for tally in tallies) > 0, f"no {what} in all these runs"


@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_a_mutant_turns_it_red(mutant: str, capsys: pytest.CaptureFixture[str]) -> None:
    process = simulate(0, "--count", MUTANT_SEEDS, "--mutant", mutant)
    said = process.communicate()[0]
    last = said.splitlines()[-1]
    assert process.returncode == 1, f"nobody noticed the mutant {mutant}: {last}"
    assert f"python -m tests.simulation {last.split()[1]} --mutant {mutant}" in last
    with capsys.disabled():
        print(f"\nsimulation: mutant {mutant} turns seed {last.split()[1]} red")


def test_a_seed_replays_the_same_run() -> None:
    """Two processes: devices have other ids in each, the store another generation."""
    first, second = (simulate(7).communicate()[0] for _ in range(2))
    assert first == second
    assert len(first.splitlines()) > 1000
