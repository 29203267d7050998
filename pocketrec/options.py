"""Options that the verbs share."""

from pathlib import Path
from typing import Annotated

import typer

from contracts.project import FILENAME

PROJECT_FILE = Path(FILENAME)

ProjectOption = Annotated[
    Path,
    typer.Option(
        "--project", metavar="FILE", show_default=False, help=f"the project's settings  [default: {FILENAME}]"
    ),
]
RunOption = Annotated[
    Path | None, typer.Option("--run", metavar="FOLDER", help="the run directory  [default: runs/NAME]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")]
BundleArgument = Annotated[Path | None, typer.Argument(metavar="[BUNDLE]", show_default=False)]
