"""Where the server's time comes from."""

import struct
import time
from pathlib import Path
from typing import Protocol

from contracts.errors import ConfigError

MILLISECONDS = struct.Struct("<q")
"""What `FileClock` reads: one int64, little endian, milliseconds since 1970."""


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since 1970."""


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class FileClock:
    """A clock that another process sets by writing eight bytes into a file, so that weeks pass in minutes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def now_ms(self) -> int:
        """Milliseconds since 1970, as the file says now.

        Raises:
            ConfigError: if the file is missing or does not hold exactly eight bytes.
        """
        try:
            data = self._path.read_bytes()
        except OSError as error:
            raise ConfigError(f"clock file {self._path} cannot be read ({error.strerror}): write it first") from None
        if len(data) != MILLISECONDS.size:
            raise ConfigError(f"clock file {self._path} holds {len(data)} bytes: write one little-endian int64")
        return int(MILLISECONDS.unpack(data)[0])
