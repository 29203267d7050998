"""All steps in their order, and how a verb runs those that it needs."""

from dataclasses import dataclass
from pathlib import Path

from pocketrec.exporting import EXPORT
from pocketrec.federation import FEDERATE
from pocketrec.model_steps import COMPRESS, TRAIN
from pocketrec.next_bundle import REFRESH, ROLL_OUT
from pocketrec.preparation import PREPARE
from pocketrec.progress import Progress
from pocketrec.project_file import read_project
from pocketrec.publication import PUBLISH
from pocketrec.run_directory import RunDirectory, open_run
from pocketrec.simulation import SIMULATE
from pocketrec.steps import Step, StepOutcome, run_steps

STEPS = (PREPARE, TRAIN, COMPRESS, EXPORT, PUBLISH, SIMULATE, FEDERATE, REFRESH, ROLL_OUT)


@dataclass(frozen=True)
class Finished:
    """What a verb ran, or found done."""

    run: RunDirectory
    name: str  # of the step that was asked for
    seed: int  # of the project
    outcomes: dict[str, StepOutcome]

    @property
    def folder(self) -> Path:
        return self.run.folder(self.name)

    @property
    def reused(self) -> bool:
        """Whether nothing had to be done."""
        return all(outcome.reused for outcome in self.outcomes.values())

    @property
    def seconds(self) -> dict[str, float]:
        """What each step took when it ran."""
        return {name: outcome.record.seconds for name, outcome in self.outcomes.items()}

    @property
    def summary(self) -> dict[str, object]:
        """What every verb says of its step."""
        record = self.outcomes[self.name].record
        return {
            "folder": str(self.folder),
            "reused": self.outcomes[self.name].reused,
            "seconds": record.seconds,
            "peak_memory_bytes": record.peak_memory_bytes,
            **record.measured,
        }


def run_verb(step: str, project: Path, run: Path | None, instead: Step | None = None) -> Finished:
    """Run a step of a project, and the steps it needs, where something changed.

    Args:
        step: its name.
        project: the project file.
        run: the run directory; by default the project's usual one.
        instead: a step that takes the place of the one of its name.
    """
    file = read_project(project)
    steps = [instead if instead and each.name == instead.name else each for each in STEPS]
    with open_run(run or file.default_run) as directory:
        outcomes = run_steps(steps, directory, file, Progress(), last=step)
    return Finished(directory, step, file.project.project.seed, outcomes)
