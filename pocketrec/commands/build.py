"""`pocketrec build`."""

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption


def build(project: ProjectOption = PROJECT_FILE, run: RunOption = None, as_json: JsonOption = False) -> None:
    """From the event log to a signed bundle: prepare, train, compress and export, each only where something changed.

    \b
    Example:
        pocketrec build --project shop/pocketrec.toml
    """
    from export.verify import read_manifest
    from pocketrec.exporting import EXPORT, check_parity, load_export
    from pocketrec.output import emit
    from pocketrec.pipeline import run_verb

    finished = run_verb(EXPORT.name, project, run)
    check_parity(load_export(finished.folder))
    manifest = read_manifest(finished.run.bundle)
    emit(
        {
            "bundle": str(finished.run.bundle),
            "version": manifest.bundle_version,
            "items": manifest.items,
            "bytes": sum(entry.bytes for entry in manifest.files.values()),
            "reused": finished.reused,
            "seconds": finished.seconds,
            "next": "pocketrec verify checks it, pocketrec evaluate compares it, pocketrec publish releases it",
        },
        as_json,
    )
