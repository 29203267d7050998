"""`pocketrec compress`."""

from pathlib import Path
from typing import Annotated

import typer

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption


def compress(
    project: ProjectOption = PROJECT_FILE,
    run: RunOption = None,
    max_bytes: Annotated[
        str | None, typer.Option("--max-bytes", metavar="SIZE", help="of model.tflite, such as 300KB")
    ] = None,
    max_latency: Annotated[
        str | None, typer.Option("--max-latency", metavar="TIME", help="median of one thread here, such as 1ms")
    ] = None,
    max_loss: Annotated[str | None, typer.Option("--max-loss", metavar="SHARE", help="of NDCG@10, such as 2%")] = None,
    max_loss_of: Annotated[
        str | None,
        typer.Option(
            "--max-loss-of",
            metavar="MODEL",
            show_default=False,
            help="float (before storing) or teacher  [default: float]",
        ),
    ] = None,
    trials: Annotated[
        int,
        typer.Option("--trials", metavar="N", show_default=False, help="recipes that a search trains on  [default: 4]"),
    ] = 4,
    blame: Annotated[bool, typer.Option("--blame", help="which layers changed the top 10 most")] = False,
    as_json: JsonOption = False,
) -> None:
    """Distil the teacher into the device model, and store it by the smallest recipe that is good enough.

    With a limit: search recipes for an artifact within it; finished trials are reused.

    \b
    Example:
        pocketrec compress --run runs/shop
        pocketrec compress --run runs/shop --max-bytes 300KB --max-latency 1ms --max-loss 2%
    """
    from compression.search.limits import Limits, parse_limits
    from contracts.errors import CheckFailed, ConfigError

    if trials < 0:
        raise ConfigError(f"--trials {trials}: give 0, with which nothing is trained on, or more")
    limits = parse_limits(max_bytes, max_latency, max_loss, max_loss_of)
    limited = limits != Limits()
    if limited and blame:
        raise ConfigError("--blame is of what a build ships, limits are a search's: give one of them")
    from pocketrec.model_steps import COMPRESS
    from pocketrec.output import emit
    from pocketrec.pipeline import run_verb
    from pocketrec.recipe_search import searchable

    searched = searchable(project) if limited or blame else None
    finished = run_verb(COMPRESS.name, project, run)
    if searched is not None and limited:
        from pocketrec.recipe_exploration import explore_run, told

        search, folder, candidates = explore_run(finished, searched, limits, trials)
        if search.choice.chosen is None:
            raise CheckFailed(f"no recipe meets the limits; the tightest is {search.choice.tightest}; see {folder}")
        emit(told(search, folder, candidates), as_json)
        return
    emit(_told(finished.folder, finished.summary, finished.seed, blame), as_json)


def _told(folder: Path, summary: dict[str, object], seed: int, blamed: bool) -> dict[str, object]:
    from compression.checkpoint import load_saved_spec
    from pocketrec.quality import load_quality, quality_of
    from pocketrec.recipe_search import load_blame

    saved = load_saved_spec(folder)
    said = {
        "recipe": saved.recipe,
        "model_version": saved.model_version,
        "quality": quality_of(load_quality([folder]), seed),
    }
    if blamed:
        found = load_blame(folder)
        layers = {each.layer: f"{each.share:+.0%}" for each in found.layers}
        said["blame"] = {"changed_top_10": f"{found.changed:.2%}", **layers}
    return summary | said
