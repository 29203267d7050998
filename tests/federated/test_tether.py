"""What is tethered ends with its starter, however that ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from federated import tether

SLEEPER = "import pathlib, sys, os, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"
STARTER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-m", "federated.tether", sys.executable, "-c", sys.argv[1], sys.argv[2]],
                 stdin=subprocess.PIPE, start_new_session=True)
time.sleep(600)
"""


def pid_in(path: Path) -> int:
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.02)
    raise AssertionError("the command never started")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid: int) -> bool:
    give_up = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < give_up:
        time.sleep(0.02)
    return not is_running(pid)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_when_its_starter_is_killed(tmp_path, end):
    starter = subprocess.Popen([sys.executable, "-c", STARTER, SLEEPER, str(tmp_path / "pid")])
    sleeper = pid_in(tmp_path / "pid")
    assert is_running(sleeper)
    starter.send_signal(end)
    starter.wait(30)
    assert ends(sleeper)


def test_it_ends_when_the_tether_is_told_to(tmp_path):
    command = [sys.executable, "-m", "federated.tether", sys.executable, "-c", SLEEPER, str(tmp_path / "pid")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    sleeper = pid_in(tmp_path / "pid")
    tether.stop_group(process)
    assert ends(sleeper)


def test_who_ignores_the_signal_is_killed_with_its_group(tmp_path, monkeypatch):
    monkeypatch.setattr(tether, "STOP_SECONDS", 0.2)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
    process = subprocess.Popen([sys.executable, "-c", deaf, str(tmp_path / "pid")], start_new_session=True)
    pid_in(tmp_path / "pid")
    tether.stop_group(process)
    assert process.returncode == -signal.SIGKILL


def test_a_command_that_ends_by_itself_hands_on_its_code():
    read, write = os.pipe()
    try:
        assert tether.run_tethered([sys.executable, "-c", "raise SystemExit(7)"], read) == 7
    finally:
        os.close(read)
        os.close(write)
