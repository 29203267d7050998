"""What every candidate of a search is asked, and what counts in its answers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.project import Project
from pocketrec.next_item_steps import is_next_item
from pocketrec.quality import ALL_ITEMS, METRIC, NEW_ITEMS
from training.prepared import Prepared

if TYPE_CHECKING:
    from compression.search.measured import People
    from pocketrec.artifact_quality import Task
    from training.evaluation import PersonMetrics, Score

PEOPLE = 1_200  # validation baskets that each candidate is asked for, of as many people where there are so many


@dataclass
class Exam:
    """Validation baskets, and the teacher's answers to them.

    Attributes:
        task: what is asked.
        judged: what decides: `ALL_ITEMS`, or `NEW_ITEMS` where people seldom take an item twice.
        ask_teacher: the teacher's quality on the same baskets.
    """

    task: "Task"
    judged: str
    ask_teacher: Callable[[], "PersonMetrics"]

    def people(self, found: "PersonMetrics") -> "People":
        """What counts of a model's quality."""
        return getattr(found, METRIC[self.judged]), found.new_ndcg

    @cached_property
    def teacher(self) -> "People":
        """Asked when the first candidate is measured: a search whose trials are all finished asks nobody."""
        return self.people(self.ask_teacher())

    def relative_to(self, whose: str) -> str:
        """What a loss is relative to, in words."""
        return (
            f"the {whose}'s NDCG@10 on {self.judged.replace('_', ' ')} of {len(self.task.cases):,} validation baskets"
        )


def validation_exam(project: Project, prepared: Prepared, train_folder: Path) -> Exam:
    """The exam of a project's candidates.

    Args:
        project: which kind of shop it is, and how long histories are.
        prepared: the log.
        train_folder: where the teacher is.
    """
    from pocketrec.artifact_quality import task_of
    from training.cases import VALIDATION
    from training.evaluation import evaluate
    from training.segments import fit_segments

    seed = project.project.seed
    whole = task_of(prepared, fit_segments(prepared, seed), project.model.history_length, VALIDATION)
    task = whole.one_of_each(PEOPLE, seed)

    def scores() -> "Score":
        from training.sequence.train import load_next_item_teacher
        from training.train import load_teacher

        if is_next_item(project):
            next_item_teacher = load_next_item_teacher(train_folder, len(prepared.items.item_id) - 1)
            return lambda rows: next_item_teacher.scores(task.anything.items[rows])
        teacher = load_teacher(train_folder, prepared)
        return lambda rows: teacher.scores(task.anything[rows])

    judged = NEW_ITEMS if is_next_item(project) else ALL_ITEMS
    return Exam(task, judged, lambda: evaluate(scores(), task.cases, task.people))
