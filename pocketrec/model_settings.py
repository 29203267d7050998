"""What the project file says of the teacher and the device model, as the settings of their training."""

from typing import TYPE_CHECKING

from contracts.project import Project

if TYPE_CHECKING:
    from compression.compress import CompressSettings
    from training.train import TrainSettings

TRAIN_STEP = "train"  # its name, by which later steps ask for what it left
BIAS_COLUMNS = 2  # of the device model's table, which the teacher's vectors lack


def train_settings(project: Project) -> "TrainSettings":
    """What the project file says of the teacher."""
    from training.fit_teacher import TeacherRecipe
    from training.teacher import TeacherShape
    from training.train import TrainSettings

    section = project.teacher
    shape = TeacherShape(
        width=project.model.width - BIAS_COLUMNS,
        blocks=section.blocks,
        dropout=section.dropout,
        recent=section.recent,
        price_bands=section.price_bands,
    )
    return TrainSettings(
        history_length=project.model.history_length,
        examples=section.examples,
        recipe=TeacherRecipe(
            shape=shape,
            steps=section.steps,
            rate=section.learning_rate,
            copy_rate=section.copy_learning_rate,
            new_item_weight=section.new_item_weight,
        ),
        device=section.device,
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
        item_codes={"auto": None, "on": True, "off": False}[section.item_codes],
        code_bytes=section.code_bytes,
        successors=project.next_item.successors,
        warm_start_steps=section.warm_start_steps,
        warm_start_examples=section.warm_start_examples,
    )
