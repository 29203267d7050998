"""`pocketrec train`."""

from pathlib import Path
from typing import Annotated

import typer

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption

FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from", metavar="RUN", show_default=False, help="go on from this finished run's teacher; --run is another"
    ),
]


def train(
    project: ProjectOption = PROJECT_FILE,
    run: RunOption = None,
    source: FromOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the baselines and train the teacher, on everybody but the phones' people.

    With --from a finished teacher goes on learning from the weeks that the log has grown by. If the newest week shows
    it to be worse than before, it is refused with exit code 1.

    \b
    Example:
        pocketrec train --run runs/shop
        pocketrec train --from runs/shop --run runs/shop-june
        torchrun --nproc-per-node 2 -m -- pocketrec train --run runs/shop   # on two GPUs
    """
    from training.machine import follow, process_group

    with process_group() as leads:
        if leads:
            _train(project, run, source, as_json)
        else:
            follow()


def _train(project: Path, run: Path | None, source: Path | None, as_json: bool) -> None:
    import msgspec

    from pocketrec.model_steps import TRAIN, training_from
    from pocketrec.output import emit
    from pocketrec.pipeline import run_verb
    from pocketrec.project_file import run_of
    from pocketrec.quality import load_quality, quality_of
    from training.incremental import load_decision

    step = training_from(source, run_of(run, project)) if source else TRAIN
    finished = run_verb(TRAIN.name, project, run, step)
    decision = load_decision(finished.folder)
    gate = {"gate": {"from": str(source)} | msgspec.to_builtins(decision)} if decision else {}
    emit(
        finished.summary | gate | {"quality": quality_of(load_quality([finished.folder]), finished.seed)},
        as_json,
    )
