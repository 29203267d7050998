"""Progress on standard error: bars where a person looks on, plain lines where a file does."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_SECONDS = 10.0  # between two plain lines of the same work


class Progress:
    """Callable as progress(what, done, total), which is all that a long piece of work needs to know."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar: tqdm | None = None
        self._step = ""
        self._last_line = 0.0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """The step that is now at work."""
        self._step, self._last_line = name, 0.0
        started = time.monotonic()
        if not self._stream.isatty():
            self._line(f"{name} ...")
        try:
            yield
        finally:
            self._close()
        self._line(f"{name}: {time.monotonic() - started:.1f} s")

    def reused(self, name: str) -> None:
        self._line(f"{name}: nothing changed, reused")

    def __call__(self, what: str, done: int, total: int) -> None:
        if not self._stream.isatty():
            if time.monotonic() - self._last_line >= LINE_SECONDS:
                self._last_line = time.monotonic()
                self._line(f"{self._step}: {what} {done}/{total}")
            return
        if self._bar is None or self._bar.total != total:
            from tqdm import tqdm

            self._close()
            self._bar = tqdm(total=total, file=self._stream, leave=False, dynamic_ncols=True)
        self._bar.set_description(f"{self._step}: {what}" if self._step else what, refresh=False)
        self._bar.n = done
        self._bar.refresh()

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
