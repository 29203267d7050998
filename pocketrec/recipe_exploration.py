"""`pocketrec compress` with limits: the search over a run's distilled model, kept in the run and gone on with."""

from pathlib import Path

import msgspec

from compression.search.limits import Limits
from contracts.bundle import TFLITE
from contracts.errors import RunError
from export.durable import write_durably
from pocketrec import charts
from pocketrec.model_steps import TRAIN
from pocketrec.pipeline import Finished
from pocketrec.preparation import PREPARE
from pocketrec.progress import Progress
from pocketrec.recipe_search import (
    CANDIDATES,
    SEARCH,
    Bench,
    Search,
    conclude,
    front_rows,
    save_search,
    tuner,
    validation_baskets,
)
from pocketrec.run_directory import open_run

FOLDER, PLOT = "search", "front.svg"
STEPS = 120  # of a whole training of one recipe


def explore_run(finished: Finished, limits: Limits, trials: int) -> tuple[Search, Path, Path]:
    """Search a run whose `compress` finished.

    Args:
        finished: of the step.
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
        raise RunError(f"{finished.folder} keeps no distilled model to search from: compress a project of next baskets")
    with open_run(finished.run.path) as run:
        folder = run.folder(FOLDER)
        folder.mkdir(exist_ok=True)
        model = load_distilled(finished.folder)
        version = load_saved_spec(finished.folder / DISTILLED).model_version
        prepared = load_prepared(run.folder(PREPARE.name))
        task = validation_baskets(prepared, model.spec.history_length, finished.seed)
        bench = Bench(model, task, folder / CANDIDATES / version[:12], finished.seed, Progress())
        if trials:
            bench.tune = tuner(bench, prepared, run.folder(TRAIN.name), STEPS)
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
        "front": list(search.choice.front),
        "candidates": {each.recipe: search.choice.reasons[each.recipe] for each in search.candidates},
        "figures": str(folder / SEARCH),
        "plot": str(folder / PLOT),
    }
