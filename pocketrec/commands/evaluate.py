"""`pocketrec evaluate`."""

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption


def evaluate(project: ProjectOption = PROJECT_FILE, run: RunOption = None, as_json: JsonOption = False) -> None:
    """Compare the model as it ships with the baselines and its teacher, on the test weeks, paired over people.

    \b
    Example:
        pocketrec evaluate --run runs/shop --json
    """
    from pocketrec.exporting import EXPORT
    from pocketrec.model_steps import COMPRESS, TRAIN
    from pocketrec.output import emit
    from pocketrec.pipeline import run_verb
    from pocketrec.quality import bars, comparison, load_quality, quality_of

    finished = run_verb(EXPORT.name, project, run)
    folders = [finished.run.folder(step.name) for step in (TRAIN, COMPRESS, EXPORT)]
    people = load_quality(folders)
    compared = comparison(people, finished.seed)
    emit(
        finished.summary
        | {"quality": quality_of(people, finished.seed), "comparison": compared, "bars": bars(compared)},
        as_json,
    )
