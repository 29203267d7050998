"""`pocketrec verify`."""

from pathlib import Path
from typing import Annotated

import typer

from pocketrec.options import PROJECT_FILE, BundleArgument, JsonOption, ProjectOption, RunOption

KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--public-key", metavar="FILE", help="who must have signed it  [default: keys/targets.pub of the run]"
    ),
]
HeldOption = Annotated[
    int, typer.Option("--held", metavar="VERSION", show_default=False, help="refuse a bundle older than this one")
]


def verify(
    bundle: BundleArgument = None,
    public_key: KeyOption = None,
    held: HeldOption = 0,
    project: ProjectOption = PROJECT_FILE,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a bundle as a phone does: signature, files, version, and that its model answers its goldens.

    BUNDLE is a bundle's directory, by default the run's.

    \b
    Example:
        pocketrec verify shop-3 --public-key targets.pub --held 2
    """
    from contracts.bundle import GOLDENS, TFLITE, Goldens
    from contracts.codec import decode
    from contracts.errors import RollbackError
    from export.inference.goldens import check_goldens
    from export.inference.runtime import Runtime
    from export.keys import PUBLIC_KEY, load_public_key
    from export.verify import read_manifest, verify_bundle, verify_signature
    from pocketrec.output import emit
    from pocketrec.project_file import run_of
    from pocketrec.run_directory import look_into_run

    if bundle is None or public_key is None:
        directory = look_into_run(run_of(run, project))
        bundle = bundle or directory.bundle
        public_key = public_key or directory.keys / PUBLIC_KEY
    read_manifest(bundle)
    verify_signature(bundle, load_public_key(public_key))
    manifest = verify_bundle(bundle)
    if manifest.bundle_version < held:
        raise RollbackError(
            f"bundle has version {manifest.bundle_version}, version {held} is held: only newer ones are taken"
        )
    goldens = decode((bundle / GOLDENS).read_bytes(), Goldens)
    check_goldens(Runtime(bundle, manifest), goldens)
    emit(
        {
            "bundle": str(bundle),
            "project": manifest.project,
            "version": manifest.bundle_version,
            "items": manifest.items,
            "files": len(manifest.files),
            "bytes": sum(entry.bytes for entry in manifest.files.values()),
            "goldens": {"artifact": TFLITE, "histories": len(goldens.histories), "tolerance": goldens.tolerance},
        },
        as_json,
    )
