"""The most memory that this process and its children held at once."""

import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

SAMPLE_SECONDS = 0.2
PROC = Path("/proc")


class PeakMemory:
    """Watches resident memory while it is entered; shared pages count once per process that holds them.

    Where there is no /proc, `bytes` is the largest that this process ever held.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        held = sum(_resident(pid) for pid in _family(os.getpid())) if PROC.is_dir() else _largest_ever()
        self.bytes = max(self.bytes, held)


def _family(root: int) -> Iterator[int]:
    """A process and its descendants."""
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        with suppress(OSError):  # it may have ended
            for task in (PROC / str(pid) / "task").iterdir():
                waiting.extend(int(child) for child in (task / "children").read_text().split())


def _resident(pid: int) -> int:
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _largest_ever() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
