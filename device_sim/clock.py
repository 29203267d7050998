"""Time on a simulated device: one virtual time for the fleet and its server, and what a device believes of it."""

import struct
from collections.abc import Callable
from pathlib import Path

import msgspec

from contracts.errors import InputError

_MILLISECONDS = struct.Struct("<q")  # what the sync server's file clock reads: int64, little endian


class FleetTime:
    """Virtual time, in milliseconds since 1970: it moves only when told to, and only forward."""

    def __init__(self, now_ms: int, file: Path | None = None) -> None:
        """
        Args:
            now_ms: where time begins.
            file: where the server reads the time from, if it shares it.
        """
        self._now_ms = now_ms
        self._file = file
        self._write()

    @classmethod
    def resume(cls, file: Path) -> "FleetTime":
        """Go on from where a file stands.

        Raises:
            InputError: if the file is missing or is no such file.
        """
        try:
            return cls(_MILLISECONDS.unpack(file.read_bytes())[0], file)
        except (OSError, struct.error):
            raise InputError(f"{file} holds no time of a fleet: start one there first") from None

    def now_ms(self) -> int:
        return self._now_ms

    def advance_to(self, now_ms: int) -> None:
        """Move on to a moment.

        Raises:
            InputError: if the moment has passed.
        """
        if now_ms < self._now_ms:
            raise InputError(f"time cannot go back from {self._now_ms} to {now_ms}: replay events in order of time")
        self._now_ms = now_ms
        self._write()

    def _write(self) -> None:
        if self._file is not None:  # by rename, so that the server never reads half a number
            temporary = self._file.with_name(f".{self._file.name}.new")
            temporary.write_bytes(_MILLISECONDS.pack(self._now_ms))
            temporary.replace(self._file)


class DeviceClock:
    """A device's clocks: a wall clock that may be wrong, and a monotonic one that counts from each boot."""

    def __init__(self, true_ms: Callable[[], int], boot_id: str, wrong_by_ms: int = 0) -> None:
        """
        Args:
            true_ms: the true time, milliseconds since 1970.
            boot_id: of this boot, unlike every other of this device.
            wrong_by_ms: how far the wall clock is ahead.
        """
        self._true_ms = true_ms
        self.boot_id = boot_id
        self.wrong_by_ms = wrong_by_ms
        self._booted_ms = true_ms()

    def wall_ms(self) -> int:
        return self._true_ms() + self.wrong_by_ms

    def uptime_ms(self) -> int:
        return self._true_ms() - self._booted_ms

    def reboot(self, boot_id: str) -> None:
        self.boot_id = boot_id
        self._booted_ms = self._true_ms()


class TimeFix(msgspec.Struct, frozen=True):
    """The server's time at a moment of the device's clocks: so a device with a wrong clock knows what time it is."""

    server_ms: int
    wall_ms: int
    boot_id: str
    uptime_ms: int

    def true_ms(self, wall_ms: int, boot_id: str, uptime_ms: int) -> int:
        """Best estimate of the true time of another moment: by the monotonic clock within the same boot, which nobody
        can set, else by the wall clock's error at the fix."""
        if boot_id == self.boot_id:
            return self.server_ms + uptime_ms - self.uptime_ms
        return self.server_ms + wall_ms - self.wall_ms
