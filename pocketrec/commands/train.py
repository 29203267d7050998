"""`pocketrec train`."""

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption


def train(project: ProjectOption = PROJECT_FILE, run: RunOption = None, as_json: JsonOption = False) -> None:
    """Measure the baselines and train the teacher, on everybody but the phones' people.

    \b
    Example:
        pocketrec train --run runs/shop
    """
    from pocketrec.model_steps import TRAIN
    from pocketrec.output import emit
    from pocketrec.pipeline import run_verb
    from pocketrec.quality import load_quality, quality_of

    finished = run_verb(TRAIN.name, project, run)
    emit(finished.summary | {"quality": quality_of(load_quality([finished.folder]), finished.seed)}, as_json)
