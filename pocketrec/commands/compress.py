"""`pocketrec compress`."""

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption


def compress(project: ProjectOption = PROJECT_FILE, run: RunOption = None, as_json: JsonOption = False) -> None:
    """Distil the teacher into the device model, pruned and on its int8 grid.

    \b
    Example:
        pocketrec compress --run runs/shop
    """
    from compression.checkpoint import load_saved_spec
    from pocketrec.model_steps import COMPRESS
    from pocketrec.output import emit
    from pocketrec.pipeline import run_verb
    from pocketrec.quality import load_quality, quality_of

    finished = run_verb(COMPRESS.name, project, run)
    saved = load_saved_spec(finished.folder)
    emit(
        finished.summary
        | {
            "recipe": saved.recipe,
            "model_version": saved.model_version,
            "quality": quality_of(load_quality([finished.folder]), finished.seed),
        },
        as_json,
    )
