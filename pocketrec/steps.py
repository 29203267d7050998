"""Steps: named pieces of work whose results are kept in the run directory and reused while nothing changed."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from contracts.project import Project
from pocketrec.memory import PeakMemory
from pocketrec.progress import Progress
from pocketrec.project_file import ProjectFile
from pocketrec.run_directory import RunDirectory, StepRecord, tree_digest, write_record
from pocketrec.sources import source_digest


@dataclass(frozen=True)
class StepContext:
    """What a step's function is given.

    Attributes:
        folder: empty; what is written here becomes the step's result.
        inputs: name of each step that is needed -> folder of its result.
        measured: to be filled with what the work tells of itself, such as its speed; no part of the result.
    """

    file: ProjectFile
    run: RunDirectory
    folder: Path
    inputs: Mapping[str, Path]
    progress: Progress
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def project(self) -> Project:
        return self.file.project


@dataclass(frozen=True)
class Step:
    """A piece of work.

    Attributes:
        name: also its folder's.
        work: writes the result into `StepContext.folder`.
        needs: names of the steps whose results it reads.
        settings: the part of the project's settings that it reads.
        sources: modules that do the work; their sources, and those they import, are part of the key.
        fingerprint: whatever else the result depends on, such as the hash of a file.
    """

    name: str
    work: Callable[[StepContext], None]
    sources: tuple[str, ...]
    needs: tuple[str, ...] = ()
    settings: Callable[[Project], object] = field(default=lambda _: None)
    fingerprint: Callable[[ProjectFile, RunDirectory], object] = field(default=lambda *_: None)


@dataclass(frozen=True)
class StepOutcome:
    record: StepRecord
    reused: bool


def run_steps(
    steps: Sequence[Step], run: RunDirectory, file: ProjectFile, progress: Progress, last: str | None = None
) -> dict[str, StepOutcome]:
    """Run steps in their order, each only where its result is not there already.

    Args:
        steps: every step after those it needs.
        last: the step to stop after; by default all are run.

    Returns:
        Each step's outcome, by name.
    """
    outcomes: dict[str, StepOutcome] = {}
    wanted = _wanted(steps, last)
    for step in steps:
        if step.name in wanted:
            outcomes[step.name] = _run_step(step, run, file, progress, outcomes)
    return outcomes


def _wanted(steps: Sequence[Step], last: str | None) -> set[str]:
    """The step that is asked for and all that it needs."""
    if last is None:
        return {step.name for step in steps}
    wanted = {last}
    for step in reversed(steps):
        if step.name in wanted:
            wanted.update(step.needs)
    return wanted


def _run_step(
    step: Step, run: RunDirectory, file: ProjectFile, progress: Progress, before: Mapping[str, StepOutcome]
) -> StepOutcome:
    key = _key(step, run, file, {name: before[name].record.output for name in step.needs})
    finished = run.record(step.name)
    if finished is not None and finished.key == key:
        progress.reused(step.name)
        return StepOutcome(finished, reused=True)
    started = time.monotonic()
    with run.replacing(step.name) as folder, PeakMemory() as memory, progress.step(step.name):
        context = StepContext(file, run, folder, {name: run.folder(name) for name in step.needs}, progress)
        step.work(context)
        record = StepRecord(
            name=step.name,
            key=key,
            output=tree_digest(folder),
            seconds=round(time.monotonic() - started, 3),
            peak_memory_bytes=memory.bytes,
            measured=context.measured,
        )
        write_record(folder, record)
    return StepOutcome(record, reused=False)


def _key(step: Step, run: RunDirectory, file: ProjectFile, inputs: Mapping[str, str]) -> str:
    """SHA-256 in hexadecimal of all that a step's result depends on.

    Of the steps before, it is what they made and not how: a change upstream that gives the same bytes is no change.
    """
    made_of = {
        "name": step.name,
        "settings": step.settings(file.project),
        "inputs": inputs,
        "sources": source_digest(*step.sources),
        "fingerprint": step.fingerprint(file, run),
    }
    return hashlib.sha256(msgspec.json.encode(made_of, order="deterministic")).hexdigest()
