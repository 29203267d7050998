"""Runs a command that does not outlive who started it: `python -m federated.tether COMMAND...`.

Standard input is the tether: when the starter ends, however it ends, its side of the pipe closes and the command is
stopped. SIGTERM stops it as well.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

POLL_SECONDS = 0.2
STOP_SECONDS = 10.0  # for a command to end by itself after SIGTERM


def run_tethered(command: Sequence[str], tether: int) -> int:
    """Run a command until it ends or the other side of the tether closes; its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        while child.poll() is None:
            readable, _, _ = select.select([tether], [], [], POLL_SECONDS)
            if readable and not os.read(tether, 1):
                break
    finally:
        stop_group(child)
    return child.returncode


def stop_group(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM to a process that leads its own group, SIGKILL to the group if it does not end in time."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    raise SystemExit(run_tethered(sys.argv[1:], sys.stdin.fileno()))
