"""`pocketrec export`."""

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption


def export(project: ProjectOption = PROJECT_FILE, run: RunOption = None, as_json: JsonOption = False) -> None:
    """Convert the device model to TFLite, ONNX and Core ML, hold them against it, and build the signed bundle.

    \b
    Example:
        pocketrec export --run runs/shop
    """
    from pocketrec.exporting import EXPORT, check_parity, load_export
    from pocketrec.output import emit
    from pocketrec.pipeline import run_verb
    from pocketrec.quality import load_quality, quality_of
    from pocketrec.report_json import artifacts_of, parity_of

    finished = run_verb(EXPORT.name, project, run)
    result = load_export(finished.folder)
    check_parity(result)
    emit(
        finished.summary
        | {
            "bundle": str(finished.run.bundle),
            "version": result.bundle_version,
            "host": result.host,
            "artifacts": artifacts_of(result),
            "parity": parity_of(result),
            "quality": quality_of(load_quality([finished.folder]), finished.seed),
        },
        as_json,
    )
