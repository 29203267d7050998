"""What was erased, kept outside the store and its backups, so that a restored backup does not bring anybody back.

A file of JSON lines that only grows: an erasure's line is on the disk before the erasure is committed. It holds random
handles and keyed hashes, no identifiers. It belongs on another disk than the store and is not put back with a backup;
lines that are older than every backup may be taken out.
"""

import os
from pathlib import Path

import msgspec

from contracts.errors import ConfigError


class Identifier(msgspec.Struct, frozen=True, order=True):
    digest: str  # see `sync_server.identifiers`
    key_version: int


class Reached(msgspec.Struct, frozen=True, order=True):
    """How far a store had come: one that has come less far than its journal says is an older one."""

    generation: str
    changes: int  # the stamp of the transaction that wrote the line, or of the next one


class Erasure(msgspec.Struct, frozen=True, tag_field="what", tag="erasure"):
    """One person's erasure."""

    erasure_id: str  # random
    erased_at: int  # milliseconds since 1970: what was made up to then is barred
    handles: tuple[str, ...]  # of the owners, the person's first
    identifiers: tuple[Identifier, ...]  # the owners' too, in no order that tells which is whose
    reached: Reached
    request: str = ""  # which the person made, see `sync_server.erasure.request_key`; empty if staff did


class Mark(msgspec.Struct, frozen=True, tag_field="what", tag="mark"):
    """A server started or ended here."""

    reached: Reached


Line = Erasure | Mark


class ErasureJournal:
    """The journal in a file, which is created with its first line."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: on a disk of its own; its folder must exist.

        Raises:
            ConfigError: if the folder is missing.
        """
        if not path.parent.is_dir():
            raise ConfigError(f"erasure_journal {path} has no folder to lie in: create {path.parent} first")
        self._path = path

    def append(self, line: Line) -> None:
        """Add a line; it is on the disk when this returns. A last line that was cut short goes."""
        with self._path.open("ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the file may be new
        finally:
            os.close(folder)

    def bytes(self) -> int:
        """How long it is; 0 before its first line."""
        return self._path.stat().st_size if self._path.exists() else 0

    def read(self) -> list[Line]:
        """All lines, the oldest first.

        A last line that is cut short is passed over: what it would have told was never committed.

        Raises:
            ConfigError: if another line cannot be read.
        """
        if not self._path.exists():
            return []
        *lines, last = self._path.read_bytes().split(b"\n")
        if last:
            lines.append(last)
        found: list[Line] = []
        for number, line in enumerate(lines, start=1):
            try:
                found.append(msgspec.json.decode(line, type=Line))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                if number == len(lines) and last:
                    break
                raise ConfigError(
                    f"erasure_journal {self._path}, line {number} is damaged ({error}): restore the file"
                ) from None
        return found
