"""The steps that make the device model: train the baselines and the teacher, then compress what the teacher knows."""

from pocketrec.preparation import PREPARE
from pocketrec.steps import Step, StepContext


def _train(context: StepContext) -> None:
    from training.prepared import load_prepared
    from training.train import train

    project = context.project
    prepared = load_prepared(context.inputs[PREPARE.name])
    train(prepared, context.folder, project.teacher, project.project.seed, context.progress)


def _compress(context: StepContext) -> None:
    from compression.compress import compress
    from training.prepared import load_prepared

    project = context.project
    compress(
        load_prepared(context.inputs[PREPARE.name]),
        context.inputs[TRAIN.name],
        context.folder,
        project,
        project.project.seed,
        context.progress,
    )


TRAIN = Step(
    name="train",
    work=_train,
    needs=(PREPARE.name,),
    sources=("training.train",),
    settings=lambda project: (project.teacher, project.project.seed),
)
COMPRESS = Step(
    name="compress",
    work=_compress,
    needs=(PREPARE.name, TRAIN.name),
    sources=("compression.compress",),
    settings=lambda project: (project.model, project.compression, project.project.seed),
)
