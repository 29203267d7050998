"""The peak counts what was held at once, children included."""

import subprocess
import sys

from pocketrec.memory import PeakMemory

MB = 2**20
HOLD = "import sys; held = bytearray(b'x') * (200 * 2**20); print('held', flush=True); sys.stdin.read()"


def test_children_count() -> None:
    with PeakMemory() as before:
        pass
    with (
        PeakMemory() as memory,
        subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child,
    ):
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        memory._sample()  # what the watching thread does at its next tick
        child.communicate()
    assert memory.bytes >= before.bytes + 190 * MB


def test_what_was_held_before_does_not_count() -> None:
    with PeakMemory() as first:
        held = bytearray(b"x") * (200 * MB)
        first._sample()
        del held
    with PeakMemory() as second:
        pass
    assert second.bytes <= first.bytes - 150 * MB
