"""Central training: baselines, the teacher, and what the teacher says for the device model to learn."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import torch

from contracts.errors import RunError
from training.baselines import BASELINES
from training.baselines.baseline import Baseline
from training.baselines.popularity import purchase_counts
from training.calibration import best_offset
from training.cases import TEST, TRAIN, VALIDATION, Cases
from training.checkpoint import UNREADABLE, reason
from training.context import context_of
from training.evaluation import PersonMetrics, evaluate
from training.examples import Examples, draw_baskets, examples_of
from training.fit_teacher import Fit, TeacherRecipe, fit_teacher
from training.histories import histories_of
from training.machine import AUTO
from training.new_item_labels import NewItemLabeller, NewItemLabels
from training.people_quality import save_people_quality
from training.prepared import Prepared
from training.protocols import cases_for
from training.segments import Segments, fit_segments
from training.soft_labels import label_new_items, make_soft_labels, save_soft_labels
from training.spectral_start import spectral_vectors
from training.teacher import Teacher, TeacherShape, attribute_codes

TEACHER = "teacher.pt"
WORKERS = 2  # baselines measured at once: products of sparse matrices use one processor each
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TrainSettings:
    history_length: int = 256  # L
    examples: int = 30_000  # baskets to learn from
    recipe: TeacherRecipe = field(default_factory=TeacherRecipe)
    device: str = AUTO  # see `training.machine`


def train(
    prepared: Prepared,
    folder: Path,
    settings: TrainSettings,
    seed: int,
    progress: Progress,
    checkpoint: Path | None = None,
) -> Fit:
    """Fit and evaluate everything central.

    Writes into `folder`: `people_quality.npz` (every baseline and `teacher`, on the test baskets), `teacher.pt`, and
    `soft_labels.npz`.

    Args:
        prepared: the log; phones are not read.
        folder: existing and empty.
        settings: how much and how long.
        seed: of everything random.
        progress: called with what is done, how far it is, and how far it goes.
        checkpoint: a file in which the teacher is kept while it trains, and from which it goes on.

    Raises:
        DataError: if there is nothing to learn from.
        RunError: if the checkpoint is damaged.
    """
    torch.use_deterministic_algorithms(True)
    segments = fit_segments(prepared, seed)
    examples = examples_of(
        prepared, draw_baskets(prepared, TRAIN, settings.examples, seed), settings.history_length, segments
    )
    labels = label_new_items(
        NewItemLabeller(prepared), examples, lambda done, total: progress("label new items", done, total)
    )
    torch.manual_seed(seed)
    shape = settings.recipe.shape
    teacher = Teacher(shape, attribute_codes(prepared.items, shape.price_bands), purchase_counts(prepared))
    start = spectral_vectors(labels, teacher.popularity.numpy(), shape.width, seed)
    teacher.start_from(start)
    fit = fit_teacher(
        teacher, settings.recipe, examples, labels, seed, progress, device=settings.device, checkpoint=checkpoint
    )
    calibrate(teacher, prepared, settings.history_length, segments)
    finish(teacher, examples, labels, folder, settings.history_length, segments, progress)
    return fit


def finish(
    teacher: Teacher,
    examples: Examples,
    labels: NewItemLabels,
    folder: Path,
    length: int,
    segments: Segments,
    progress: Progress,
) -> None:
    """Write a trained teacher, what it says of the examples, and its quality beside the baselines'."""
    prepared = examples.prepared
    torch.save({"shape": asdict(teacher.shape), "weights": teacher.state_dict()}, folder / TEACHER)
    save_soft_labels(make_soft_labels(teacher, examples, labels), folder)
    cases = cases_for(prepared, TEST)
    found = evaluate_baselines(prepared, cases, progress)
    found["teacher"] = evaluate_teacher(teacher, prepared, cases, length, segments, progress)
    save_people_quality(folder, found)


def calibrate(teacher: Teacher, prepared: Prepared, length: int, segments: Segments) -> None:
    """Set the copy head's height on the validation weeks."""
    cases = cases_for(prepared, VALIDATION)
    histories = histories_of(prepared, cases.baskets, length, context_of(prepared, cases.baskets, segments))
    offset = best_offset(lambda rows: teacher.parts(histories[rows]), cases, len(prepared.pseudonym))
    with torch.no_grad():
        teacher.copy_linear.bias += offset


def load_teacher(folder: Path, prepared: Prepared) -> Teacher:
    """The teacher that `train` left behind.

    Raises:
        RunError: if the folder holds none, or one of another catalogue.
    """
    try:
        saved = torch.load(folder / TEACHER, weights_only=True)
        shape = TeacherShape(**saved["shape"])
        teacher = Teacher(shape, attribute_codes(prepared.items, shape.price_bands), purchase_counts(prepared))
        teacher.load_state_dict(saved["weights"])
    except UNREADABLE as error:
        raise RunError(
            f"{folder / TEACHER} is no teacher of this catalogue ({reason(error)}): run `pocketrec train` again"
        ) from None
    return teacher.eval()


def evaluate_baselines(prepared: Prepared, cases: Cases, progress: Progress) -> dict[str, PersonMetrics]:
    """Every baseline's quality, by its name."""

    def measure(kind: type[Baseline]) -> PersonMetrics:
        return evaluate(partial(kind(prepared).score, cases), cases, len(prepared.pseudonym))

    found: dict[str, PersonMetrics] = {}
    progress("baselines", 0, len(BASELINES))
    with ThreadPoolExecutor(WORKERS) as workers:
        for name, metrics in zip(BASELINES, workers.map(measure, BASELINES.values()), strict=True):
            found[name] = metrics
            progress("baselines", len(found), len(BASELINES))
    return found


def evaluate_teacher(
    teacher: Teacher, prepared: Prepared, cases: Cases, length: int, segments: Segments, progress: Progress
) -> PersonMetrics:
    """The teacher's quality, from histories of the device model's length."""
    histories = histories_of(prepared, cases.baskets, length, context_of(prepared, cases.baskets, segments))
    people, told = len(prepared.pseudonym), partial(progress, "evaluate the teacher")
    return evaluate(lambda rows: teacher.scores(histories[rows]), cases, people, told)
