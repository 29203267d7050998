"""`pocketrec demo`."""

from pathlib import Path
from typing import Annotated

import typer

from pocketrec.options import JsonOption, RunOption

ProjectFileOption = Annotated[
    Path | None,
    typer.Option("--project", metavar="FILE", show_default=False, help="a project of your own instead of the demo's"),
]


def demo(project: ProjectFileOption = None, run: RunOption = None, as_json: JsonOption = False) -> None:
    """The whole way on real data: from an event log to phones that recommend, sync and train, and a report on it.

    \b
    Example:
        pocketrec demo --run runs/demo
    """
    from pocketrec.demonstration import demonstrate, summary
    from pocketrec.output import emit

    done = demonstrate(project, run)
    if not as_json:
        emit(summary(done), as_json)
    done.check()
    if as_json:
        emit(done.report, as_json)
