"""The privacy ledger: what was spent, written down before it is spent, and never taken back.

One JSON line per release, each with the hash of the line before and its own, so that a changed, removed or reordered
line is found. Lines cut off at the end are found by the checkpoints, which remember the head they were made under: keep
the ledger out of every backup that checkpoints are restored from. It charges before noise is drawn: a crash in between
costs privacy on paper that nobody lost, never the other way round.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from contracts.accounting import epsilon
from contracts.errors import PrivacyError
from contracts.privacy import Charge
from export.durable import sync_folder

GENESIS = "0" * 64


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What may be spent in all."""

    epsilon: float
    delta: float


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line: a charge, and the public constants of the release it paid for."""

    sequence: int  # 0 for the first line
    previous: str  # hash of the line before
    round_id: str
    charge: Charge
    clipping_norm: float
    people_enrolled: int  # frozen when the round opened
    charged_at: int  # milliseconds since 1970
    adjacency: str = "add/remove one person"
    hash: str = ""  # sha256 of this line with an empty hash


def _sealed(entry: LedgerEntry) -> LedgerEntry:
    blank = msgspec.structs.replace(entry, hash="")
    return msgspec.structs.replace(entry, hash=hashlib.sha256(msgspec.json.encode(blank)).hexdigest())


def _parse(path: Path, lines: Sequence[bytes]) -> tuple[LedgerEntry, ...]:
    entries: list[LedgerEntry] = []
    previous = GENESIS
    for number, line in enumerate(lines):
        try:
            entry = msgspec.json.decode(line, type=LedgerEntry)
        except (msgspec.DecodeError, UnicodeDecodeError):
            entry = None
        if (
            entry is None
            or (entry.sequence, entry.previous) != (number, previous)
            or msgspec.json.encode(_sealed(entry)) != line
        ):
            raise PrivacyError(
                f"line {number + 1} of the privacy ledger {path} is not what was written: "
                "put the true ledger back, no round can be charged on this one"
            )
        entries.append(entry)
        previous = entry.hash
    return tuple(entries)


def read_ledger(path: Path) -> tuple[LedgerEntry, ...]:
    """The entries of a ledger; none where there is no file.

    A last line without its line end was cut off by a crash before it was durable, so nothing was released under it: it
    does not count.

    Raises:
        PrivacyError: if a line was changed, removed from the middle or reordered.
    """
    content = path.read_bytes() if path.exists() else b""
    return _parse(path, content.split(b"\n")[:-1])


def ledger_epsilon(entries: Sequence[LedgerEntry], delta: float) -> float:
    """Epsilon of everything that was charged."""
    return epsilon((entry.charge for entry in entries), delta)


class Ledger:
    """The ledger opened for charging; one process at a time.

        with Ledger(path) as ledger:
            entry = ledger.charge("round-1", Charge(sampling_rate=0.1, noise_multiplier=1.0), ...)

    Raises:
        PrivacyError: if another process holds it, or a line is not what was written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            content = path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            self._entries = list(_parse(path, whole.split(b"\n")[:-1]))
            if len(whole) < len(content):  # torn by a crash: never durable, never released under
                os.ftruncate(self._file, len(whole))
            os.fsync(self._file)
            sync_folder(path.parent)
        except BlockingIOError:
            os.close(self._file)
            raise PrivacyError(
                f"the privacy ledger {path} is held by another process: rounds never overlap, wait for it or stop it"
            ) from None
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)  # gives up the lock as well

    @property
    def entries(self) -> tuple[LedgerEntry, ...]:
        return tuple(self._entries)

    @property
    def head(self) -> str:
        """Hash of the last line."""
        return self._entries[-1].hash if self._entries else GENESIS

    def epsilon(self, delta: float) -> float:
        """Epsilon of everything that was charged."""
        return ledger_epsilon(self._entries, delta)

    def afford(self, charge: Charge, budget: Budget) -> None:
        """Raises PrivacyError if the charge would pass the budget, ConfigError if no accountant can bound it."""
        total = epsilon([*(entry.charge for entry in self._entries), charge], budget.delta)
        if total > budget.epsilon:
            raise PrivacyError(
                f"the release would bring epsilon to {total:.3f} at delta {budget.delta:g}, the budget is "
                f"{budget.epsilon:g}: raise the noise multiplier, sample fewer people, or stop here"
            )

    def charge(
        self, round_id: str, charge: Charge, *, clipping_norm: float, people_enrolled: int, budget: Budget
    ) -> LedgerEntry:
        """Write a charge down, durably, before its noise is drawn.

        Returns:
            the line, on disk.

        Raises:
            ConfigError: if the charge is out of the accountant's range.
            PrivacyError: if the budget would be passed; nothing is written then.
        """
        self.afford(charge, budget)
        entry = _sealed(
            LedgerEntry(
                sequence=len(self._entries),
                previous=self.head,
                round_id=round_id,
                charge=charge,
                clipping_norm=clipping_norm,
                people_enrolled=people_enrolled,
                charged_at=time.time_ns() // 1_000_000,
            )
        )
        line = msgspec.json.encode(entry) + b"\n"
        written = os.write(self._file, line)
        if written != len(line):
            raise PrivacyError(f"the privacy ledger {self._path} took only part of a line: free disk space and resume")
        os.fsync(self._file)
        self._entries.append(entry)
        return entry

    def require(self, length: int, head: str) -> None:
        """Refuse to go on from a checkpoint that has seen charges which this ledger lacks.

        Args:
            length: lines of the ledger when the checkpoint was made.
            head: hash of the last of them.

        Raises:
            PrivacyError: if this ledger is shorter, or another one.
        """
        held = self._entries[length - 1].hash if 0 < length <= len(self._entries) else GENESIS
        if length > len(self._entries) or held != head:
            raise PrivacyError(
                f"the checkpoint has seen {length} charges, the privacy ledger {self._path} does not hold them: "
                "it is behind or another one, put the true ledger back"
            )
