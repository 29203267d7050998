"""Distillation that stays private: the device model learns from histories a private teacher drew, and nothing else.

`distil_drawn` reads the folder of a private training and no other; what it makes costs no privacy. Only afterwards, to
state figures, is the device model asked about the test people.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from compression.checkpoint import load_device_model, save_device_model
from compression.compress import CompressSettings, default_recipe, evaluate_device_model, initial_table
from compression.device_model import DeviceModel, DeviceModelSpec
from compression.distillation import distil
from compression.passes import compressed
from compression.repeatable import train_repeatably
from training.cases import TEST
from training.context import context_of
from training.histories import histories_of
from training.people_quality import save_people_quality
from training.prepared import Prepared
from training.private.lessons import DrawnExamples, load_drawn
from training.private.train import Progress, load_device_inputs
from training.protocols import cases_for
from training.segments import Segments
from training.soft_labels import load_soft_labels

if TYPE_CHECKING:
    from training.examples import Examples


def distil_drawn(train_folder: Path, folder: Path, settings: CompressSettings, seed: int, progress: Progress) -> str:
    """Distil, prune, quantize and save, from drawn histories alone.

    The height of the copy head over the catalogue follows from drawn baskets; nothing is set on people's.

    Args:
        train_folder: where `training.private.train` wrote; nothing else is opened.
        folder: existing and empty, for what `compression.checkpoint` saves.
        settings: shapes and recipe.
        seed: of everything random.
        progress: called with what is done, how far it is, and how far it goes.

    Returns:
        The model's version.
    """
    train_repeatably()
    labels, inputs = load_soft_labels(train_folder), load_device_inputs(train_folder)
    examples = DrawnExamples(load_drawn(train_folder))
    spec = DeviceModelSpec(
        items=inputs.items,
        context=inputs.context,
        history_length=inputs.history_length,
        candidates=min(settings.candidates, inputs.items),
        width=settings.width,
    )
    table, divisor, middle = initial_table(labels, settings.width)
    model = DeviceModel.create(spec, table, seed, default_recipe(settings.recipe))
    model.adapter["popularity"].assign([divisor])
    model.adapter["copy_offset"].assign([-middle])
    distil(
        model,
        cast("Examples", examples),  # of which distillation reads the histories and their batches
        labels,
        # The teacher's votes are no query, and flat as they are: baskets are drawn from them, not bought.
        replace(settings.recipe, query_weight=0.0, temperature=1.0),
        seed,
        lambda done, total: progress("distil the device model", done, total),
    )
    finished = compressed(model, model.recipe)
    return save_device_model(finished, folder, finished.recipe.name)


def state_quality(prepared: Prepared, segments: Segments, folder: Path, progress: Progress) -> None:
    """Write `people_quality.npz`: exact figures of the test people, which are outside the guarantee.

    Args:
        prepared: the log.
        segments: of its people.
        folder: of the finished device model.
        progress: as above.
    """
    model, cases = load_device_model(folder), cases_for(prepared, TEST)
    context = context_of(prepared, cases.baskets, segments)
    histories = histories_of(prepared, cases.baskets, model.spec.history_length, context)
    found = evaluate_device_model(model, histories, cases, len(prepared.pseudonym), progress)
    save_people_quality(folder, {"device_float": found})
