"""A run directory: one folder per finished step, the run's secrets, and a lock.

    runs/demo/
        run.json            the directory's format
        prepare/            a finished step: its files and step.json
        .prepare.partial/   a step under way, or what was left of one that was cut off
        export/bundle/      the bundle that the step export made
        keys/               the project's signing keys
        repository/         the TUF repository that bundles are published in
        server/             the sync server's database
        privacy/            the privacy ledger
        checkpoints/        a teacher in training, until its step has finished
        tuning/             the trials of `pocketrec tune`
        search/             those of `pocketrec compress` with limits
        secrets/            random keys that only the owner may read

The last eight are no steps: they grow, and no step replaces them.

A folder without the leading dot is complete: it was written under the other name, put on the disk and then renamed.
"""

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.errors import RunError
from export.durable import sync_folder, write_durably, write_synced

FORMAT_VERSION = 1
RUN, STEP, LOCK, SECRETS = "run.json", "step.json", ".lock", "secrets"
PARTIAL, REPLACED = "partial", "replaced"


class RunFormat(msgspec.Struct, frozen=True):
    pocketrec_run: int  # FORMAT_VERSION


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished step was made of, and what it took."""

    name: str
    key: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]  # of everything the result depends on
    output: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]  # of the result's files
    seconds: float
    peak_memory_bytes: int
    measured: dict[str, float] = {}  # what else the work tells of itself, such as its speed


class RunDirectory:
    """An open run directory.

    Example:
        with open_run(Path("runs/demo")) as run:
            with run.replacing("prepare") as folder:
                ...
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def bundle(self) -> Path:
        return self.path / "export" / "bundle"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def repository(self) -> Path:
        return self.path / "repository"

    @property
    def server(self) -> Path:
        return self.path / "server"

    @property
    def ledger(self) -> Path:
        return self.path / "privacy" / "ledger.jsonl"

    @property
    def training_ledger(self) -> Path:
        """Of central training; `ledger` is of rounds, whose people are others."""
        return self.path / "privacy" / "training.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def tuning(self) -> Path:
        return self.path / "tuning"

    def folder(self, step: str) -> Path:
        return self.path / step

    def record(self, step: str) -> StepRecord | None:
        """The record of a finished step; None where it has not finished."""
        try:
            return msgspec.json.decode((self.folder(step) / STEP).read_bytes(), type=StepRecord)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            raise RunError(
                f"{self.folder(step) / STEP} cannot be read ({error}): remove {self.folder(step)} to run the step again"
            ) from None

    @contextmanager
    def replacing(self, step: str) -> Iterator[Path]:
        """An empty folder that becomes the step's when the block ends well, and vanishes when it does not."""
        partial = self.path / f".{step}.{PARTIAL}"
        replaced = self.path / f".{step}.{REPLACED}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            _sync_tree(partial)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
        with suppress(FileNotFoundError):
            self.folder(step).rename(replaced)
        partial.rename(self.folder(step))
        sync_folder(self.path)
        shutil.rmtree(replaced, ignore_errors=True)

    def secret(self, name: str, size: int) -> bytes:
        """Random bytes that are drawn once and kept in a file of mode 0600; put your own there to use it instead.

        Raises:
            RunError: if the file has another size.
        """
        path = self.path / SECRETS / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if not path.exists():
            write_durably(path, secrets.token_bytes(size), 0o600)
        value = path.read_bytes()
        if len(value) != size:
            raise RunError(f"{path} has {len(value)} bytes, it must have {size}: put the right key there")
        return value


@contextmanager
def open_run(path: Path) -> Iterator[RunDirectory]:
    """Open a run directory for this process alone, make it where missing, and sweep what was cut off.

    Raises:
        RunError: if it is in use, of another format, or no run directory.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunError(f"{path} cannot be a run directory: {error.strerror}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it however the process ends
        except BlockingIOError:
            raise RunError(f"{path} is in use by another pocketrec: wait for it or name another --run") from None
        _check_format(path)
        for left in [*path.glob(f".*.{PARTIAL}"), *path.glob(f".*.{REPLACED}")]:
            shutil.rmtree(left)
        yield RunDirectory(path)
    finally:
        os.close(lock)


def look_into_run(path: Path) -> RunDirectory:
    """A run directory to read from, whoever else uses it.

    Raises:
        RunError: if it does not exist or is of another format.
    """
    if not (path / RUN).is_file():
        raise RunError(f"{path} is no run directory: name yours with --run, or make it with pocketrec build")
    _check_format(path)
    return RunDirectory(path)


def _check_format(path: Path) -> None:
    file = path / RUN
    if not file.exists():
        if any(not each.name.startswith(".") for each in path.iterdir()):
            raise RunError(f"{path} holds other files and is no run directory: name an empty or new one with --run")
        write_durably(file, msgspec.json.encode(RunFormat(FORMAT_VERSION)))
        return
    try:
        version = msgspec.json.decode(file.read_bytes(), type=RunFormat).pocketrec_run
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{file} cannot be read ({error}): name another --run") from None
    if version != FORMAT_VERSION:
        raise RunError(
            f"{path} has run format {version}, this pocketrec reads {FORMAT_VERSION}: name another --run or remove it"
        )


def tree_digest(folder: Path) -> str:
    """SHA-256 in hexadecimal over the names and bytes of all files below a folder, but for its step.json."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / STEP):
        with path.open("rb") as file:
            inner = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\n{inner}\n".encode())
    return digest.hexdigest()


def write_record(folder: Path, record: StepRecord) -> None:
    write_synced(folder / STEP, msgspec.json.format(msgspec.json.encode(record), indent=2))


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)
