"""A step is run where something it depends on has changed, and only there."""

from pathlib import Path

import pytest

from contracts.errors import DataError
from contracts.project import Model, Project, Server
from pocketrec.progress import Progress
from pocketrec.project_file import ProjectFile
from pocketrec.run_directory import RunDirectory, open_run
from pocketrec.steps import Step, StepContext, run_steps


class Kitchen:
    """Three steps: grind feeds bake, and wash stands alone; each counts how often it was run."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.flour = "rye"
        self.salt = 1
        self.fails = False

    def grind(self, context: StepContext) -> None:
        self.ran.append("grind")
        (context.folder / "flour").write_text(self.flour)

    def bake(self, context: StepContext) -> None:
        self.ran.append("bake")
        (context.folder / "bread").write_text(f"{(context.inputs['grind'] / 'flour').read_text()} bread")
        if self.fails:
            raise DataError("no oven")

    def wash(self, context: StepContext) -> None:
        self.ran.append("wash")

    @property
    def steps(self) -> list[Step]:
        return [
            Step("grind", self.grind, sources=("contracts.events",), fingerprint=lambda *_: (self.flour, self.salt)),
            Step("wash", self.wash, sources=("contracts.events",)),
            Step(
                "bake",
                self.bake,
                sources=("contracts.events",),
                needs=("grind",),
                settings=lambda project: project.model,
            ),
        ]

    def cook(self, run: RunDirectory, project: Project | None = None, last: str | None = None) -> list[str]:
        self.ran.clear()
        outcomes = run_steps(self.steps, run, ProjectFile(project or Project(), Path()), Progress(), last)
        assert [name for name, outcome in outcomes.items() if not outcome.reused] == self.ran
        return self.ran


def test_nothing_changed_nothing_runs(tmp_path: Path) -> None:
    kitchen = Kitchen()
    with open_run(tmp_path / "run") as run:
        assert kitchen.cook(run) == ["grind", "wash", "bake"]
        assert kitchen.cook(run) == []
    with open_run(tmp_path / "run") as run:
        assert kitchen.cook(run) == []
        record = run.record("bake")
    assert record is not None
    assert record.seconds >= 0
    assert record.peak_memory_bytes > 10**6


def test_only_settings_that_a_step_reads_matter_to_it(tmp_path: Path) -> None:
    kitchen = Kitchen()
    with open_run(tmp_path / "run") as run:
        kitchen.cook(run)
        assert kitchen.cook(run, Project(server=Server(port=1234))) == []
        assert kitchen.cook(run, Project(model=Model(width=32))) == ["bake"]


def test_a_changed_result_runs_what_needs_it_the_same_result_does_not(tmp_path: Path) -> None:
    kitchen = Kitchen()
    with open_run(tmp_path / "run") as run:
        kitchen.cook(run)
        kitchen.flour = "wheat"
        assert kitchen.cook(run) == ["grind", "bake"]
        assert (run.folder("bake") / "bread").read_text() == "wheat bread"
        kitchen.salt = 2
        assert kitchen.cook(run) == ["grind"]  # made anew, the same flour


def test_one_step_runs_with_what_it_needs(tmp_path: Path) -> None:
    kitchen = Kitchen()
    with open_run(tmp_path / "run") as run:
        assert kitchen.cook(run, last="bake") == ["grind", "bake"]
        assert kitchen.cook(run, last="wash") == ["wash"]


def test_a_failed_step_is_run_again_and_those_before_it_are_not(tmp_path: Path) -> None:
    kitchen = Kitchen()
    kitchen.fails = True
    with open_run(tmp_path / "run") as run:
        with pytest.raises(DataError, match="no oven"):
            kitchen.cook(run)
        assert not run.folder("bake").exists()
        kitchen.fails = False
        assert kitchen.cook(run) == ["bake"]
