"""`pocketrec publish`."""

from pathlib import Path
from typing import Annotated

import typer

from pocketrec.options import PROJECT_FILE, BundleArgument, JsonOption, ProjectOption, RunOption

RepositoryOption = Annotated[
    Path | None,
    typer.Option("--repository", metavar="FOLDER", help="of the TUF repository  [default: repository/ of the run]"),
]
KeysOption = Annotated[
    Path | None, typer.Option("--keys", metavar="FOLDER", help="the signing keys  [default: keys/ of the run]")
]


def publish(
    bundle: BundleArgument = None,
    repository: RepositoryOption = None,
    keys: KeysOption = None,
    project: ProjectOption = PROJECT_FILE,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a bundle to the signed repository that phones update from, with patches from earlier bundles.

    BUNDLE is a bundle's directory, by default the run's.

    \b
    Example:
        pocketrec publish --run runs/shop
    """
    from export.repository import publish as publish_bundle
    from pocketrec.output import emit
    from pocketrec.project_file import run_of
    from pocketrec.run_directory import look_into_run

    if bundle is None or repository is None or keys is None:
        directory = look_into_run(run_of(run, project))
        bundle = bundle or directory.bundle
        repository = repository or directory.repository
        keys = keys or directory.keys
    published = publish_bundle(bundle, repository, keys)
    emit(
        {
            "bundle": str(bundle),
            "repository": str(repository),
            "version": published.version,
            "bytes": published.bytes,
            "patch_bytes": published.patch_bytes,
        },
        as_json,
    )
