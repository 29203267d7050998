"""The steps `train` and `compress`, and the next bundle, of a project whose people seldom take an item twice."""

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from contracts.errors import ConfigError
from contracts.project import Project
from pocketrec.preparation import PREPARE
from pocketrec.steps import StepContext

if TYPE_CHECKING:
    from compression.compress import Choose
    from compression.next_item import NextItemDistillation
    from training.prepared import Prepared
    from training.sequence.train import NextItemSettings

NEXT_ITEM = "next_item"
TEACHER = "next_item_teacher.pt"  # while it trains and when it is finished


def is_next_item(project: Project) -> bool:
    return project.model.task == NEXT_ITEM


def refuse_to_go_on(what: str) -> NoReturn:
    """Say that what is named cannot be gone on from, or to."""
    raise ConfigError(f'{what}, which --from does not go on with: leave --from out, or set task = "next_basket"')


def next_item_settings(project: Project) -> "NextItemSettings":
    """What the project file says of the teacher."""
    from training.sequence.fit import NextItemRecipe
    from training.sequence.train import NextItemSettings
    from training.sequence.transformer import TransformerShape

    section = project.next_item
    shape = TransformerShape(width=section.teacher_width, blocks=section.teacher_blocks, dropout=section.dropout)
    return NextItemSettings(
        history_length=project.model.history_length,
        recipe=NextItemRecipe(shape=shape, epochs=section.teacher_epochs),
        device=project.teacher.device,
    )


def _distillation(project: Project) -> "NextItemDistillation":
    from compression.next_item import NextItemDistillation

    return NextItemDistillation(epochs=project.next_item.epochs)


def train_step(context: StepContext) -> None:
    from training.prepared import load_prepared
    from training.sequence.train import train_next_item

    checkpoint = context.run.checkpoints / TEACHER
    speed = train_next_item(
        load_prepared(context.inputs[PREPARE.name]),
        context.folder,
        next_item_settings(context.project),
        context.project.project.seed,
        context.progress,
        checkpoint,
    )
    checkpoint.unlink(missing_ok=True)
    context.measured["targets_per_second"] = round(speed, 1)


def compress_step(context: StepContext, prepared: "Prepared", choose: "Choose") -> None:
    from compression.next_item_model import BlockShapes, compress_next_item
    from pocketrec.model_settings import TRAIN_STEP, compress_settings

    section = context.project.next_item
    compress_next_item(
        prepared,
        context.inputs[TRAIN_STEP],
        context.folder,
        compress_settings(context.project),
        _distillation(context.project),
        BlockShapes(section.blocks, section.hidden, section.feed),
        context.project.project.seed,
        context.progress,
        choose,
    )


def warm_start(context: StepContext, prepared: "Prepared", start: Path, folder: Path) -> None:
    """The next bundle's model, from `start`, in `folder`."""
    from compression.next_item_model import warm_start_next_item
    from pocketrec.model_settings import TRAIN_STEP, compress_settings

    warm_start_next_item(
        prepared,
        context.inputs[TRAIN_STEP],
        start,
        folder,
        compress_settings(context.project),
        _distillation(context.project),
        context.project.project.seed,
        context.progress,
    )
