"""The files of a SQLite store, and what is left of them when a process or the power dies.

Every connection that SQLAlchemy opens is made here, so that a crash can be put before any statement, before a commit,
in the midst of one and after one. What has died is never spoken to again: the next life opens a copy of the files.

* A killed process leaves its files as they stand.
* A power loss leaves what had been synced: the files as they were after the last commit, since SQLite syncs its log in
  each (`synchronous=FULL`); a commit that was not synced is gone with all that followed.
* In the midst of a commit any of the blocks that it was writing may have reached the disk.
"""

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

DATABASE = "sync.sqlite"
LOG = f"{DATABASE}-wal"
BLOCK_BYTES = 512  # the least that a disk writes whole
FULL = 2  # of PRAGMA synchronous


class Crash(BaseException):
    """The server dies here. Nothing that it still does reaches a disk that anybody reads."""


class Moment(Enum):
    STATEMENT = "before a statement"
    BEFORE_COMMIT = "before the commit"
    IN_COMMIT = "in the midst of the commit"
    AFTER_COMMIT = "after the commit, before the answer"


@dataclass(frozen=True)
class Plan:
    """When the server dies in the next transaction, and how."""

    moment: Moment
    power: bool  # else only the processes are killed
    statement: int = 0  # which one, from 0


class Disk:
    """Listens to SQLAlchemy while it is entered."""

    def __init__(self, folder: Path, content: Path, randomness: random.Random) -> None:
        """
        Args:
            folder: an empty one, to keep files in.
            content: of the first life: a folder with a store.
            randomness: decides which blocks of a torn commit are written.
        """
        self.folder = folder
        self._randomness = randomness
        self._copies = 0
        self._plan: Plan | None = None
        self._before: Path | None = None  # the files as they were when the plan was made
        self._unsynced: Path | None = None  # the files before the first commit that was not synced
        self.statements = 0  # of the current or last transaction
        self.life = self._copy(content)

    def __enter__(self) -> "Disk":
        event.listen(Engine, "do_connect", self._connect)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(Engine, "do_connect", self._connect)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.life / DATABASE}"

    def ask(self, sql: str, *parameters: Any) -> Any:
        """The first value of the first row that the files answer with, None without a row; past the server."""
        with closing(sqlite3.connect(self.life / DATABASE)) as connection:
            row = connection.execute(sql, parameters).fetchone()
        return row and row[0]

    def arm(self, plan: Plan) -> None:
        """Have the next transaction die."""
        self._plan, self._before = plan, self._copy(self.life)

    def disarm(self) -> None:
        """It came through: the plan named a statement that it did not have."""
        self._plan = None
        self._remove(self._before)
        self._before = None

    def lose_power(self) -> None:
        """Everything dies between transactions."""
        self._live_on(self._unsynced or self._copy(self.life))

    def before_statement(self) -> None:
        plan = self._plan
        if plan and plan.moment is Moment.STATEMENT and plan.statement == self.statements:
            self._die(committed=False)
        self.statements += 1

    def commit(self, connection: "Connection", really: Callable[[], None]) -> None:
        moment = self._plan.moment if self._plan else None
        self.statements = 0
        if moment is Moment.BEFORE_COMMIT:
            self._die(committed=False)
        if self._unsynced is None and connection.synchronous() < FULL:
            self._unsynced = self._copy(self.life)
        really()
        if moment in (Moment.IN_COMMIT, Moment.AFTER_COMMIT):
            self._die(committed=True)

    def _connect(self, _dialect: object, _record: object, _arguments: object, options: dict[str, Any]) -> None:
        options["factory"] = lambda *arguments, **named: Connection(self, *arguments, **named)

    def _die(self, committed: bool) -> None:
        plan, before = self._plan, self._before
        assert plan is not None
        assert before is not None
        self._plan = self._before = None
        self.statements = 0
        if not plan.power:
            left = self._copy(self.life)
        elif self._unsynced is not None:
            left = self._unsynced
        elif not committed:
            left = self._copy(before)
        else:
            left = self._copy(self.life)
            if plan.moment is Moment.IN_COMMIT:
                self._tear(before, left)
        self._remove(before)
        self._live_on(left)
        raise Crash(plan.moment.value)

    def _tear(self, before: Path, left: Path) -> None:
        """Take back some of the blocks that a commit wrote into the log, or none.

        What is in the blocks, and so how many there are, is random in every run: here alone that is looked at, and
        neither the draws nor whether anything is lost depend on it.
        """
        own = random.Random(self._randomness.random())
        if own.random() < 0.3:
            return
        if (before / DATABASE).read_bytes() != (left / DATABASE).read_bytes():
            return  # the log was copied into the database, which happens once it is synced
        old = (before / LOG).read_bytes() if (before / LOG).exists() else b""
        log = bytearray((left / LOG).read_bytes())
        blocks = [slice(start, start + BLOCK_BYTES) for start in range(0, len(log), BLOCK_BYTES)]
        earlier = [old[block].ljust(len(log[block]), b"\0") for block in blocks]
        written = [place for place, block in enumerate(blocks) if log[block] != earlier[place]]
        certain = own.choice(written)
        for place in written:
            if place == certain or own.random() < 0.1:
                log[blocks[place]] = earlier[place]
        (left / LOG).write_bytes(log)

    def _copy(self, source: Path) -> Path:
        """Database and log; the index of the log is memory, and dies with its processes."""
        self._copies += 1
        target = self.folder / f"copy-{self._copies}"
        target.mkdir()
        for name in (DATABASE, LOG):
            if (source / name).exists():
                shutil.copyfile(source / name, target / name)
        return target

    def _live_on(self, left: Path) -> None:
        self._remove(self.life)
        self.life, self._unsynced = left, None

    def _remove(self, folder: Path | None) -> None:
        if folder is not None:
            shutil.rmtree(folder)


class Connection(sqlite3.Connection):
    def __init__(self, disk: Disk, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.disk = disk

    def cursor(self) -> "Cursor":  # type: ignore[override]
        return super().cursor(Cursor)

    def commit(self) -> None:
        if self.in_transaction:
            self.disk.commit(self, super().commit)

    def synchronous(self) -> int:
        return int(super().execute("PRAGMA synchronous").fetchone()[0])


class Cursor(sqlite3.Cursor):
    connection: Connection

    def execute(self, *arguments: Any) -> "Cursor":
        self.connection.disk.before_statement()
        return super().execute(*arguments)  # type: ignore[return-value]

    def executemany(self, *arguments: Any) -> "Cursor":
        self.connection.disk.before_statement()
        return super().executemany(*arguments)  # type: ignore[return-value]
