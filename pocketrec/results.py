"""Everything that the steps of a whole run left behind, for whoever reports on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from contracts.project import Project
from export.repository import Published
from pocketrec.exporting import EXPORT, Export, load_export
from pocketrec.federation import FEDERATE, Federation, load_federation
from pocketrec.model_steps import COMPRESS, TRAIN
from pocketrec.next_bundle import ROLL_OUT, Rollout, load_rollout
from pocketrec.preparation import PREPARE
from pocketrec.publication import PUBLISH, load_published
from pocketrec.quality import comparison, load_quality, quality_of, segments_of
from pocketrec.recipe_search import BLAME, SEARCH, Search, load_blame, load_search
from pocketrec.run_directory import RunDirectory, StepRecord
from pocketrec.simulation import SIMULATE, Simulation, load_simulation
from training.prepared import Prepared, load_prepared
from training.segments import fit_segments

if TYPE_CHECKING:
    from compression.blamed import Blamed
    from training.evaluation import PersonMetrics


@dataclass(frozen=True)
class Results:
    """A finished run."""

    project: Project
    run: RunDirectory
    records: Mapping[str, StepRecord]
    prepared: Prepared
    people: "dict[str, PersonMetrics]"  # model -> quality of each test person
    export: Export
    search: Search | None  # None where the model was stored without one
    blamed: "Blamed | None"
    published: Published
    simulation: Simulation
    federation: Federation
    rollout: Rollout

    @property
    def seed(self) -> int:
        return self.project.project.seed

    @property
    def seconds(self) -> dict[str, float]:
        """What each step took when it ran."""
        return {name: record.seconds for name, record in self.records.items()}

    @property
    def peak_memory_bytes(self) -> int:
        return max(record.peak_memory_bytes for record in self.records.values())

    @cached_property
    def quality(self) -> dict[str, dict]:
        """Model -> every metric at 10 with its interval, on all items and on new ones."""
        return quality_of(self.people, self.seed)

    @cached_property
    def segments(self) -> dict[str, dict]:
        """Segment -> its test people, every model's quality for them, and model.tflite against their best baseline."""
        return segments_of(self.people, fit_segments(self.prepared, self.seed), self.seed)

    @cached_property
    def comparison(self) -> dict[str, dict]:
        """model.tflite against the best baseline, on all items and on new ones."""
        return comparison(self.people, self.seed)


def load_results(run: RunDirectory, project: Project, records: Mapping[str, StepRecord]) -> Results:
    """Read what the steps left behind.

    Raises:
        RunError: if one of them has not run.
    """
    compressed = run.folder(COMPRESS.name)
    return Results(
        project=project,
        run=run,
        records=records,
        prepared=load_prepared(run.folder(PREPARE.name)),
        people=load_quality(run.folder(step.name) for step in (TRAIN, COMPRESS, EXPORT)),
        export=load_export(run.folder(EXPORT.name)),
        search=load_search(compressed) if (compressed / SEARCH).exists() else None,
        blamed=load_blame(compressed) if (compressed / BLAME).exists() else None,
        published=load_published(run.folder(PUBLISH.name)),
        simulation=load_simulation(run.folder(SIMULATE.name)),
        federation=load_federation(run.folder(FEDERATE.name)),
        rollout=load_rollout(run.folder(ROLL_OUT.name)),
    )
