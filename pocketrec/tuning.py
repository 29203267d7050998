"""Tuning a project's teacher in its run directory, and what is written there."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from contracts.errors import ConfigError
from contracts.project import Project
from export.durable import write_durably
from pocketrec.model_settings import train_settings
from pocketrec.output import encode
from pocketrec.preparation import PREPARE
from pocketrec.progress import Progress
from pocketrec.project_edit import write_values
from pocketrec.project_file import read_project
from pocketrec.run_directory import RunDirectory, open_run
from pocketrec.steps import run_steps

if TYPE_CHECKING:
    from training.tuning import Trial, Tuning

JOURNAL = "journal.log"  # of all searches of a run
RESULT, CHART = "tuning.json", "tuning.html"


@dataclass(frozen=True)
class Tuned:
    """A search that has ended."""

    tuning: "Tuning"
    json_path: Path
    html_path: Path


def tune(project: Path, run: Path | None, trials: int, segment: str | None, timeout_s: float | None) -> Tuned:
    """Search, or go on with a search that was cut off, and write its result and its chart.

    Args:
        project: the project file.
        run: the run directory; by default the project's usual one.
        trials: that are to have ended, at least 1.
        segment: whose people are measured; None measures everybody's.
        timeout_s: seconds after which no trial is begun.

    Raises:
        ConfigError: if no trial is asked for, the segment is none, or the project has another kind of teacher.
        DataError: if the segment has too few people.
        RunError: if the journal of an earlier search is damaged.
    """
    if trials < 1:
        raise ConfigError(f"--trials {trials}: a search takes at least 1 trial, better 20")
    from training.prepared import load_prepared
    from training.tuning import DIRECTIONS, make_task, open_study, search, summarise

    file, progress = read_project(project), Progress()
    _refuse_other_teachers(file.project)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with open_run(run or file.default_run) as directory:
        run_steps([PREPARE], directory, file, progress)
        folder = _folder(directory, segment)
        with progress.step("tune"):
            prepared = load_prepared(directory.folder(PREPARE.name))
            task = make_task(prepared, train_settings(file.project), file.project.project.seed, segment, progress)
            study = open_study(folder / JOURNAL, task.key, DIRECTIONS)
            search(task, study, trials, progress, lambda: deadline is not None and time.monotonic() > deadline)
            tuned = Tuned(summarise(task, study, segment), folder / RESULT, folder / CHART)
        write_durably(tuned.json_path, encode(msgspec.to_builtins(tuned.tuning)))
        write_durably(tuned.html_path, page(tuned.tuning).encode())
    return tuned


def _refuse_other_teachers(project: Project) -> None:
    for section, line, allowed in (
        ("model", f'task = "{project.model.task}"', 'task = "next_basket"'),
        ("privacy", f'training = "{project.privacy.training}"', 'training = "none"'),
    ):
        if line != allowed:
            raise ConfigError(f"[{section}] {line}: only a teacher of next baskets without privacy is tuned, {allowed}")


def write_choice(tuned: Tuned, project: Path) -> None:
    """Put the choice's lines under [teacher] in the project file.

    Raises:
        ConfigError: if the file is written in a way in which they cannot be put.
    """
    chosen = tuned.tuning.trials[tuned.tuning.chosen - 1].candidate
    write_values(project, "teacher", msgspec.structs.asdict(chosen))


def _folder(run: RunDirectory, segment: str | None) -> Path:
    """Of the searches for everybody, or for a segment."""
    if segment is None:
        return run.tuning
    return run.tuning / "".join(each if each.isalnum() else "_" for each in segment.lower())


def table(trials: Sequence["Trial"]) -> list[str]:
    """The Pareto front as lines of text, best on all items first."""
    head = ("trial", "all items", "95 %", "new items", "95 %", "TFLOP", "steps", "blocks", "recent", "rate", "dropout")
    rows: list[tuple[str, ...]] = [head]
    for trial in sorted((each for each in trials if each.on_front), key=lambda each: -each.ndcg_at_10.value):
        every, new, choice = trial.ndcg_at_10, trial.new_items_ndcg_at_10, trial.candidate
        rows.append(
            (
                str(trial.number),
                f"{every.value:.4f}",
                f"{every.low:.4f}-{every.high:.4f}",
                f"{new.value:.4f}",
                f"{new.low:.4f}-{new.high:.4f}",
                f"{trial.training_flops / 1e12:.2f}",
                *(str(value) for value in (choice.steps, choice.blocks, choice.recent)),
                *(f"{value:g}" for value in (choice.learning_rate, choice.dropout)),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def page(tuning: "Tuning") -> str:
    """One self-contained page: the chart, the front and the choice."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from pocketrec.charts import trials_chart

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("tuning.html.j2").render(
        tuning=tuning,
        chart=trials_chart([_row(trial, tuning.chosen) for trial in tuning.trials]),
    )


def _row(trial: "Trial", chosen: int) -> dict[str, object]:
    kind = "stopped early"
    if trial.finished:
        kind = "on the front" if trial.on_front else "dominated"
    if trial.number == chosen:
        kind = "chosen"
    return {
        "name": str(trial.number),
        "kind": kind,
        "all": trial.ndcg_at_10.value,
        "new": trial.new_items_ndcg_at_10.value,
        "cost": trial.training_flops / 1e12,
    }
