"""`pocketrec tune`."""

from typing import Annotated

import typer

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption

TrialsOption = Annotated[
    int,
    typer.Option(
        "--trials", metavar="N", show_default=False, help="trials that the search is to have in all  [default: 20]"
    ),
]
SegmentOption = Annotated[
    str | None,
    typer.Option("--segment", metavar="NAME", show_default=False, help="measure on this segment's people only"),
]
TimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout", metavar="MINUTES", show_default=False, help="begin no trial after so long"),
]
WriteOption = Annotated[bool, typer.Option("--write", help="put the choice under [teacher] in the project file")]


def tune(
    project: ProjectOption = PROJECT_FILE,
    run: RunOption = None,
    trials: TrialsOption = 20,
    segment: SegmentOption = None,
    timeout: TimeoutOption = None,
    write: WriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search for the teacher's settings: good on all items and new items of the validation weeks, and cheap to train.

    Trials that have ended are kept in the run directory: a search that was cut off goes on when it is called again.

    \b
    Example:
        pocketrec tune --trials 30 --run runs/shop
        pocketrec tune --trials 30 --run runs/shop --segment "loyal" --timeout 60
    """
    import msgspec

    from pocketrec.output import emit
    from pocketrec.tuning import table, write_choice
    from pocketrec.tuning import tune as search

    tuned = search(project, run, trials, segment, None if timeout is None else timeout * 60)
    if write:
        write_choice(tuned, project)
    files = {"figures": str(tuned.json_path), "chart": str(tuned.html_path), "written": write}
    if as_json:
        emit(msgspec.to_builtins(tuned.tuning) | files, as_json)
        return
    print("\n".join(table(tuned.tuning.trials)), end="\n\n")
    print("\n".join(["[teacher]", *tuned.tuning.lines]), end="\n\n")
    against = {
        task: f"{found.value:+.1%} [{found.low:+.1%}, {found.high:+.1%}]"
        for task, found in tuned.tuning.against_start.items()
    }
    emit({"chosen trial": tuned.tuning.chosen, "against the first trial": against, **files}, as_json)
