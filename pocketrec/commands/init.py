"""`pocketrec init`."""

from pathlib import Path
from typing import Annotated

import typer

from pocketrec.options import PROJECT_FILE, JsonOption

SourceOption = Annotated[
    Path | None, typer.Option("--source", metavar="FILE", help="a CSV or Parquet log whose columns are guessed at")
]
FileArgument = Annotated[Path, typer.Argument(metavar="[FILE]", show_default=False)]


def init(file: FileArgument = PROJECT_FILE, source: SourceOption = None, as_json: JsonOption = False) -> None:
    """Write a commented project file: FILE, or pocketrec.toml.

    \b
    Example:
        pocketrec init --source sales.csv
    """
    import msgspec

    from contracts.project import Project
    from pocketrec.output import emit
    from pocketrec.project_file import relative_to, write_project

    project = Project()
    found: list[str] = []
    if source is not None:
        from training.columns import column_names, guess_columns

        found = column_names(source)
        data = msgspec.structs.replace(
            project.data, source=relative_to(source, file.parent), columns=guess_columns(found)
        )
        project = msgspec.structs.replace(project, data=data)
    write_project(file, project)
    columns = msgspec.structs.asdict(project.data.columns).items() if source else ()
    emit(
        {
            "file": str(file),
            "found": found,
            "columns": {field: name for field, name in columns if name is not None},
            "next": "check the columns under [data.columns], then run pocketrec prepare",
        },
        as_json,
    )
