"""The steps that make the device model: train the baselines and the teacher, then compress what the teacher knows."""

from typing import TYPE_CHECKING

from contracts.project import Project
from pocketrec.preparation import PREPARE
from pocketrec.steps import Step, StepContext

if TYPE_CHECKING:
    from compression.compress import CompressSettings
    from training.train import TrainSettings

BIAS_COLUMNS = 2  # of the device model's table, which the teacher's vectors lack


def train_settings(project: Project) -> "TrainSettings":
    """What the project file says of the teacher."""
    from training.fit_teacher import TeacherRecipe
    from training.teacher import TeacherShape
    from training.train import TrainSettings

    shape = TeacherShape(width=project.model.width - BIAS_COLUMNS)
    return TrainSettings(
        history_length=project.model.history_length,
        examples=project.teacher.examples,
        recipe=TeacherRecipe(shape=shape, steps=project.teacher.steps),
    )


def compress_settings(project: Project) -> "CompressSettings":
    """What the project file says of the device model and how it is made."""
    from compression.compress import CompressSettings
    from compression.distillation import DistillationRecipe

    model, section = project.model, project.compression
    return CompressSettings(
        history_length=model.history_length,
        candidates=model.candidates,
        width=model.width,
        recipe=DistillationRecipe(steps=section.steps),
        warm_start_steps=section.warm_start_steps,
        warm_start_examples=section.warm_start_examples,
    )


def _train(context: StepContext) -> None:
    from training.prepared import load_prepared
    from training.train import train

    train(
        load_prepared(context.inputs[PREPARE.name]),
        context.folder,
        train_settings(context.project),
        context.project.project.seed,
        context.progress,
    )


def _compress(context: StepContext) -> None:
    from compression.compress import compress
    from training.prepared import load_prepared

    compress(
        load_prepared(context.inputs[PREPARE.name]),
        context.inputs[TRAIN.name],
        context.folder,
        compress_settings(context.project),
        context.project.project.seed,
        context.progress,
    )


TRAIN = Step(
    name="train",
    work=_train,
    needs=(PREPARE.name,),
    sources=("training.train",),
    settings=lambda project: (project.teacher, project.model, project.project.seed),
)
COMPRESS = Step(
    name="compress",
    work=_compress,
    needs=(PREPARE.name, TRAIN.name),
    sources=("compression.compress",),
    settings=lambda project: (project.model, project.compression.steps, project.project.seed),
)
