"""The steps that make the device model: train the baselines and the teacher, then compress what the teacher knows."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from contracts.errors import CheckFailed, ConfigError, RunError
from pocketrec import next_item_steps
from pocketrec.model_settings import TRAIN_STEP, compress_settings, train_settings
from pocketrec.preparation import PREPARE
from pocketrec.private_steps import compress_step, is_private, train_step
from pocketrec.project_file import ProjectFile
from pocketrec.run_directory import RunDirectory, look_into_run
from pocketrec.steps import Step, StepContext

if TYPE_CHECKING:
    from compression.device_model import DeviceModel
    from compression.recipe import Recipe

ORIGIN = "origin"  # in the folder of a step `train` that went on from another run: what it went on from
TEACHER_CHECKPOINT = "teacher.pt"


def _train(context: StepContext, source: RunDirectory | None = None) -> None:
    """Train from nothing, or go on from a run: the one that is named, else the one that this run went on from."""
    from training.incremental import continue_training
    from training.origin import keep_origin, load_origin
    from training.prepared import load_prepared
    from training.train import train

    if is_private(context.project):
        if source is not None:
            raise ConfigError('--from goes on without privacy: leave it out, or set training = "none" under [privacy]')
        train_step(context)
        return
    if next_item_steps.is_next_item(context.project):
        if source is not None:
            next_item_steps.refuse_to_go_on('[model] task = "next_item"')
        next_item_steps.train_step(context)
        return
    settings, seed = train_settings(context.project), context.project.project.seed
    prepared, checkpoint = load_prepared(context.inputs[PREPARE.name]), context.run.checkpoints / TEACHER_CHECKPOINT
    folders = _origin(context.run, source)
    if folders is None:
        fit = train(prepared, context.folder, settings, seed, context.progress, checkpoint)
    else:
        settings = replace(settings, recipe=replace(settings.recipe, steps=context.project.teacher.continue_steps))
        origin = load_origin(*folders)
        try:
            fit = continue_training(prepared, origin, context.folder, settings, seed, context.progress, checkpoint)
        except CheckFailed:
            shutil.rmtree(context.run.checkpoints)
            raise
        keep_origin(*folders, context.folder / ORIGIN)
    shutil.rmtree(context.run.checkpoints)
    context.measured["targets_per_second"] = round(fit.positions_per_second, 1)


def _origin(run: RunDirectory, source: RunDirectory | None) -> tuple[Path, Path] | None:
    """Folders of a catalogue and its teacher to go on from; None where training starts from nothing."""
    if source is not None:
        return source.folder(PREPARE.name), source.folder("train")
    kept = run.folder("train") / ORIGIN
    return (kept, kept) if kept.is_dir() else None


def _origin_fingerprint(file: ProjectFile, run: RunDirectory, source: RunDirectory | None = None) -> object:
    from training.origin import origin_fingerprint

    folders = _origin(run, source)
    return None if folders is None else (origin_fingerprint(*folders), file.project.teacher.continue_steps)


def training_from(path: Path, target: Path) -> Step:
    """The step `train` as it goes on from another run's finished teacher.

    Args:
        path: the other run's directory, which is only read.
        target: the directory of the run that goes on.

    Raises:
        RunError: if there is no such run, or no teacher in it.
        ConfigError: if both are the same.
    """
    from training.origin import load_origin

    source = look_into_run(path)
    if path.resolve() == target.resolve():
        raise ConfigError(f"--from {path} is the run that would be written: name another with --run")
    for step in (PREPARE.name, TRAIN.name):
        if source.record(step) is None:
            raise RunError(f"{path} has no finished {step}: name a run whose `pocketrec train` finished")
    if (source.folder(TRAIN.name) / next_item_steps.TEACHER).exists():
        next_item_steps.refuse_to_go_on(f'{path} is of task = "next_item"')
    load_origin(source.folder(PREPARE.name), source.folder(TRAIN.name))
    return replace(TRAIN, work=partial(_train, source=source), fingerprint=partial(_origin_fingerprint, source=source))


def _compress(context: StepContext) -> None:
    from compression.checkpoint import load_item_order
    from compression.compress import compress
    from pocketrec.recipe_exam import validation_exam
    from pocketrec.recipe_search import blame_build, search_build
    from training.prepared import load_prepared

    if is_private(context.project):
        compress_step(context)
        return
    prepared, seed = load_prepared(context.inputs[PREPARE.name]), context.project.project.seed
    exam = validation_exam(context.project, prepared, context.inputs[TRAIN.name])

    def choose(model: "DeviceModel") -> "Recipe":
        return search_build(model, exam, context.folder, seed, context.progress)

    if next_item_steps.is_next_item(context.project):
        next_item_steps.compress_step(context, prepared, choose)
    else:
        compress(
            prepared,
            context.inputs[TRAIN.name],
            context.folder,
            compress_settings(context.project),
            seed,
            context.progress,
            choose,
        )
    if load_item_order(context.folder) is None:  # blame restores layers, and a table is none of a coded model's
        blame_build(exam.task, context.folder, seed, context.progress)


TRAIN = Step(
    name=TRAIN_STEP,
    work=_train,
    needs=(PREPARE.name,),
    sources=(
        "training.train",
        "training.incremental",
        "pocketrec.model_settings",
        "pocketrec.next_item_steps",
        "pocketrec.private_steps",
    ),
    settings=lambda project: (
        msgspec.structs.replace(project.teacher, continue_steps=1),  # see the fingerprint
        project.model,
        project.next_item,
        project.privacy,
        project.project.seed,
    ),
    fingerprint=_origin_fingerprint,
)
COMPRESS = Step(
    name="compress",
    work=_compress,
    needs=(PREPARE.name, TRAIN.name),
    sources=(
        "compression.compress",
        "pocketrec.model_settings",
        "pocketrec.next_item_steps",
        "pocketrec.private_steps",
        "pocketrec.recipe_search",
    ),
    settings=lambda project: (
        project.model,
        project.next_item,
        project.compression.steps,
        project.compression.item_codes,
        project.compression.code_bytes,
        project.privacy.training,
        project.project.seed,
    ),
)
