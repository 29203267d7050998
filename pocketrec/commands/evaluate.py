"""`pocketrec evaluate`."""

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption


def evaluate(project: ProjectOption = PROJECT_FILE, run: RunOption = None, as_json: JsonOption = False) -> None:
    """Compare the model as it ships with the baselines and its teacher, on what was held out, paired over people.

    Every two models are compared, and every segment of people is measured that has enough of them.

    \b
    Example:
        pocketrec evaluate --run runs/shop --json
    """
    from pocketrec.exporting import EXPORT
    from pocketrec.model_steps import COMPRESS, TRAIN
    from pocketrec.output import emit
    from pocketrec.pipeline import run_verb
    from pocketrec.preparation import PREPARE
    from pocketrec.quality import bars, comparison, load_quality, pairs, quality_of, segments_of
    from training.prepared import load_prepared
    from training.segments import fit_segments

    finished = run_verb(EXPORT.name, project, run)
    folders = [finished.run.folder(step.name) for step in (TRAIN, COMPRESS, EXPORT)]
    people = load_quality(folders)
    compared = comparison(people, finished.seed)
    prepared = load_prepared(finished.run.folder(PREPARE.name))
    segments = fit_segments(prepared, finished.seed)
    emit(
        finished.summary
        | {
            "protocol": prepared.record.protocol,
            "quality": quality_of(people, finished.seed),
            "comparison": compared,
            "pairs": pairs(people, finished.seed),
            "segments": segments_of(people, segments, finished.seed),
            "bars": bars(compared),
        },
        as_json,
    )
