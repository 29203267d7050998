"""The search over recipes on real artifacts: each candidate is exported, timed, and asked for validation baskets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from compression.recipe import Recipe
from compression.search.choose import Choice, choose
from compression.search.limits import Limits
from compression.search.measured import Measured, People, measured
from contracts.bundle import TFLITE
from contracts.errors import ConfigError, RunError
from contracts.project import Project
from export.archive import compress
from export.latency import host, measure_latency
from export.runtimes import open_evaluator
from pocketrec.private_steps import is_private
from pocketrec.project_file import read_project
from pocketrec.recipe_exam import Exam

if TYPE_CHECKING:
    from compression.blamed import Blamed
    from compression.device_model import DeviceModel
    from pocketrec.artifact_quality import Progress, Task

SEARCH, BLAME = "search.json", "blame.json"
CANDIDATES = "candidates"  # folder of their artifacts
CALLS = 200  # timed of each candidate
BUILD_LIMITS = Limits(max_loss=0.02)  # of a build; so many baskets tell a loss to within one percent
BLAME_HISTORIES = 200
Tune = Callable[[Recipe, float], tuple["DeviceModel", int]]
"""A recipe and the share of a training's steps to take -> the model trained on so, and the steps taken."""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found."""

    limits: dict[str, float | None]
    relative_to: dict[str, str]  # candidates' losses, and the limit on one -> what they are shares of
    host: str
    baskets: int  # validation baskets that were asked for
    candidates: tuple[Measured, ...]
    choice: Choice


def searchable(path: Path) -> Project:
    """A project, of which is said at once, before anything is trained, if its device model cannot be searched.

    Raises:
        ConfigError: if it trains privately.
    """
    project = read_project(path).project
    if is_private(project):
        raise ConfigError(
            'limits and --blame look at people, which training = "private" under [privacy] does not allow: '
            "leave them out, or change the project"
        )
    return project


def load_search(folder: Path) -> Search:
    """What a search left behind.

    Raises:
        RunError: if the folder holds none.
    """
    try:
        return msgspec.json.decode((folder / SEARCH).read_bytes(), type=Search)
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{folder} holds no search ({error}): run pocketrec compress") from None


def front_rows(search: Search) -> list[dict[str, object]]:
    """The candidates as rows of the front's chart, by increasing size."""
    front = set(search.choice.front)
    return [
        {
            "recipe": each.recipe,
            "kilobytes": each.bytes / 1e3,
            "loss": each.loss.value,
            "low": each.loss.low,
            "high": each.loss.high,
            "latency": each.latency_ms,
            "kind": "chosen" if each.recipe == search.choice.chosen else "front" if each.recipe in front else "other",
        }
        for each in sorted(search.candidates, key=lambda one: (one.bytes, one.recipe))
    ]


def load_blame(folder: Path) -> "Blamed":
    """Which layers are to blame, as a build found.

    Raises:
        RunError: if the folder does not say.
    """
    from compression.blamed import Blamed

    try:
        return msgspec.json.decode((folder / BLAME).read_bytes(), type=Blamed)
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{folder} does not say which layers are to blame ({error}): run pocketrec compress") from None


def save_search(search: Search, folder: Path) -> None:
    (folder / SEARCH).write_bytes(msgspec.json.format(msgspec.json.encode(search), indent=2))


def floats_of(model: "DeviceModel") -> Recipe:
    """The recipe that keeps a distilled model as it is."""
    return Recipe(pruned=model.recipe.pruned, dense="float32", table="float32", activations="float32")


@dataclass
class Bench:
    """Measures recipes of one distilled model.

    Attributes:
        model: distilled, not yet stored.
        exam: what is asked, and what counts.
        folder: where the candidates' artifacts go.
        seed: of the bootstrap.
        progress: called with how many candidates were measured.
        tune: None: nothing is trained.
        expected: how many candidates there are to be.
    """

    model: "DeviceModel"
    exam: Exam
    folder: Path
    seed: int
    progress: "Progress"
    tune: Tune | None = None
    expected: int = 0
    _reference: tuple[People, tuple[int, int], float] | None = field(default=None, init=False)
    _done: int = field(default=0, init=False)

    def measure(self, recipe: Recipe, share: float) -> Measured:
        """Export, time and ask one candidate, after `share` of the training steps."""
        floats = floats_of(self.model)
        if self._reference is None:
            self._reference = self._ask(self.model, floats)
        model, steps = self.tune(recipe, share) if share and self.tune is not None else (self.model, 0)
        people, stored_bytes, latency = self._reference if recipe == floats else self._ask(model, recipe)
        self._done += 1
        self.progress("candidates", self._done, max(self._done, self.expected))
        return measured(
            recipe.name, stored_bytes, latency, people, self._reference[0], self.exam.teacher, self.seed, steps
        )

    def _ask(self, model: "DeviceModel", recipe: Recipe) -> tuple[People, tuple[int, int], float]:
        """What counts of each person's answers, bytes, and the median latency of one call."""
        from compression.compress import calibrate
        from compression.passes import compressed
        from export.artifacts import exporters
        from pocketrec.artifact_quality import evaluate_artifacts

        stored, task = compressed(model, recipe), self.exam.task
        calibrate(stored, task.anything, task.cases, task.people)
        path = self.folder / recipe.name / TFLITE
        path.parent.mkdir(parents=True, exist_ok=True)
        exporters()[TFLITE].export(stored, path, "shipped")
        evaluator = open_evaluator(path)
        found = evaluate_artifacts({TFLITE: evaluator}, task)[TFLITE]
        latency = measure_latency(evaluator, list(task.anything.feeds())[:50], CALLS)
        size = path.stat().st_size
        return self.exam.people(found), (size, len(compress(path.read_bytes()))), latency.p50


def conclude(found: Sequence[Measured], limits: Limits, bench: Bench) -> Search:
    """The search's answer over what was measured."""
    named = {"max_bytes": limits.max_bytes, "max_latency_ms": limits.max_latency_ms, "max_loss": limits.max_loss}
    relative_to = {
        "loss": bench.exam.relative_to("float model"),
        "teacher_loss": bench.exam.relative_to("teacher"),
    }
    if limits.max_loss is not None:
        relative_to["max_loss"] = relative_to["teacher_loss" if limits.loss_of == "teacher" else "loss"]
    return Search(
        limits=named,
        relative_to=relative_to,
        host=host(),
        baskets=len(bench.exam.task.cases),
        candidates=tuple(found),
        choice=choose(found, limits),
    )


def search_build(model: "DeviceModel", exam: Exam, folder: Path, seed: int, progress: "Progress") -> Recipe:
    """The recipe of a build: the smallest of a few that need no training; what was found is written into a folder."""
    import tempfile

    from compression.recipe import parse_recipe
    from compression.search.candidates import untrained

    with tempfile.TemporaryDirectory(prefix="pocketrec-search-") as temporary:
        few = [*untrained(model.recipe.pruned, few=True), floats_of(model)]
        bench = Bench(model, exam, Path(temporary), seed, progress, expected=len(few))
        search = conclude([bench.measure(recipe, 0.0) for recipe in few], BUILD_LIMITS, bench)
    save_search(search, folder)
    return parse_recipe(search.choice.chosen) if search.choice.chosen else model.recipe


def blame_build(task: "Task", folder: Path, seed: int, progress: "Progress") -> None:
    """Write which layers are to blame for what the stored model answers otherwise, into its folder."""
    from compression.blame import blame
    from compression.checkpoint import load_device_model
    from compression.compress import load_distilled
    from compression.passes import compressed

    progress("blame", 0, 1)
    distilled, stored = load_distilled(folder), load_device_model(folder)
    asked = task.one_of_each(BLAME_HISTORIES, seed).anything
    floats = compressed(distilled, floats_of(distilled))
    found = blame(stored, floats, asked)
    (folder / BLAME).write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
    progress("blame", 1, 1)
