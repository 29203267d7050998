"""`pocketrec compress` with limits: the search over a run's distilled model, kept in the run and gone on with."""

from pathlib import Path

import msgspec

from compression.search.limits import Limits
from contracts.bundle import TFLITE
from contracts.errors import RunError
from contracts.project import Project
from export.durable import write_durably
from pocketrec import charts
from pocketrec.model_steps import TRAIN
from pocketrec.pipeline import Finished
from pocketrec.preparation import PREPARE
from pocketrec.progress import Progress
from pocketrec.recipe_exam import validation_exam
from pocketrec.recipe_search import CANDIDATES, SEARCH, Bench, Search, conclude, front_rows, save_search
from pocketrec.recipe_training import tuner
from pocketrec.run_directory import open_run

FOLDER, PLOT = "search", "front.svg"


def explore_run(finished: Finished, project: Project, limits: Limits, trials: int) -> tuple[Search, Path, Path]:
    """Search a run whose `compress` finished.

    Args:
        finished: of the step.
        project: that the run is of.
        limits: what must hold.
        trials: recipes that are trained on.

    Returns:
        The search; the folder with its journal, `search.json` and the front's plot; and that of this model's artifacts.

    Raises:
        RunError: if the run's model was distilled privately, and nothing but its stored form was kept.
    """
    from compression.checkpoint import load_saved_spec
    from compression.compress import DISTILLED, load_distilled
    from compression.search.candidates import untrained
    from compression.search.study import explore
    from training.prepared import load_prepared

    if not (finished.folder / DISTILLED).is_dir():
        raise RunError(f"{finished.folder} keeps no distilled model to search from: run pocketrec compress again")
    with open_run(finished.run.path) as run:
        folder = run.folder(FOLDER)
        folder.mkdir(exist_ok=True)
        model = load_distilled(finished.folder)
        version = load_saved_spec(finished.folder / DISTILLED).model_version
        prepared = load_prepared(run.folder(PREPARE.name))
        train_folder = run.folder(TRAIN.name)
        exam = validation_exam(project, prepared, train_folder)
        bench = Bench(model, exam, folder / CANDIDATES / version[:12], finished.seed, Progress())
        if trials:
            bench.tune = tuner(bench, project, prepared, train_folder)
        cheap = untrained(model.recipe.pruned)
        bench.expected = len(cheap) + trials
        found = explore(folder, version, cheap, trials, bench.measure, finished.seed)
        search = conclude(found, limits, bench)
        save_search(search, folder)
        write_durably(folder / PLOT, charts.standalone(charts.front_chart(front_rows(search))).encode())
    return search, folder, bench.folder


def told(search: Search, folder: Path, candidates: Path) -> dict[str, object]:
    """What the verb says; see `explore_run` for the folders."""
    (chosen,) = (each for each in search.candidates if each.recipe == search.choice.chosen)
    return {
        "chosen": msgspec.to_builtins(chosen),
        "artifact": str(candidates / chosen.recipe / TFLITE),
        "relative_to": search.relative_to,
        "front": list(search.choice.front),
        "candidates": {each.recipe: search.choice.reasons[each.recipe] for each in search.candidates},
        "figures": str(folder / SEARCH),
        "plot": str(folder / PLOT),
    }
