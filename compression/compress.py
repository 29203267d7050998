"""From the teacher's soft labels to the device model: distilled, pruned, on its int8 grid, evaluated and saved."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import tensorflow as tf
import torch

from compression.checkpoint import load_device_model, load_item_order, save_device_model
from compression.coding import check_code_bytes, code_items, coded_by_default
from compression.device_model import DeviceModel, DeviceModelSpec
from compression.distillation import DistillationRecipe, distil
from compression.grown_catalogue import grown_model
from compression.item_table import TrainableTable
from compression.kept_zeros import zeros_kept
from compression.passes import compressed
from compression.recipe import Recipe
from compression.renumbering import renumbered_labels, renumbered_log
from compression.repeatable import train_repeatably
from contracts.errors import RunError
from training.calibration import Encoded, best_offset
from training.cases import TEST, VALIDATION, Cases
from training.cold_items import match_items
from training.context import context_fields, context_of
from training.evaluation import PersonMetrics, evaluate
from training.examples import draw_baskets, examples_of
from training.histories import Histories, histories_of
from training.new_item_labels import NewItemLabeller
from training.people_quality import save_people_quality
from training.prepared import Prepared
from training.protocols import cases_for
from training.segments import fit_segments
from training.soft_labels import SoftLabels, label_new_items, load_soft_labels, make_soft_labels
from training.train import load_teacher

Progress = Callable[[str, int, int], None]
Choose = Callable[[DeviceModel], Recipe]
"""A distilled model -> how to store it."""
WARM_START_SLOWER = 10  # than distillation
DISTILLED, GRID = "distilled", "grid.json"  # the model before it is stored, from which a search goes on


@dataclass(frozen=True)
class CompressSettings:
    history_length: int = 256  # L
    candidates: int = 100  # K
    width: int = 64
    recipe: DistillationRecipe = field(default_factory=DistillationRecipe)
    item_codes: bool | None = None  # instead of a table; None: where the catalogue is large
    code_bytes: int = 16  # of an item
    successors: int = 8  # kept of each item in a model of the next item, see `compression.successors`
    warm_start_steps: int = 100
    warm_start_examples: int = 8_000


def default_recipe(recipe: DistillationRecipe) -> Recipe:
    """How a model of this distillation is stored where nothing else is chosen: everything int8, pruned as it was."""
    return Recipe(pruned=round(100 * recipe.sparsity), m_by_n=recipe.m_by_n)


def initial_table(labels: SoftLabels, width: int) -> tuple[np.ndarray, float, float]:
    """The teacher's item vectors, popularity and repeat bias as one table whose columns are of one magnitude.

    Args:
        labels: of the teacher, whose vectors are two narrower than the table.
        width: of the table.

    Returns:
        float32 [items + 1, width]; what popularity was divided by; and what was subtracted from it first.
    """
    table = np.zeros((len(labels.vectors), width), np.float32)
    table[:, : labels.vectors.shape[1]] = labels.vectors
    spread = 3.0 * float(labels.vectors[1:].std())
    middle = float(labels.popularity[1:].mean())
    centred = labels.popularity - middle
    divisor = float(np.abs(centred[1:]).max()) / max(spread, 1e-3)
    table[:, -2] = centred / divisor
    table[:, -1] = labels.repeat
    table[0] = 0.0
    return table, divisor, middle


def compress(
    prepared: Prepared,
    train_folder: Path,
    folder: Path,
    settings: CompressSettings,
    seed: int,
    progress: Progress,
    choose: Choose | None = None,
) -> str:
    """Distil, prune, quantize, code the items of a large catalogue, evaluate and save.

    Writes into `folder` what `compression.checkpoint` saves, and `people_quality.npz` with `device_float`: the
    finished model's quality on the test baskets, computed in float32.

    Args:
        prepared: the log; phones are not read.
        train_folder: where `training.train` wrote.
        folder: existing and empty.
        settings: shapes and recipe.
        seed: of everything random.
        progress: called with what is done, how far it is, and how far it goes.
        choose: says how to store the distilled model; by default all is int8. Not asked about item codes.

    Returns:
        The model's version.

    Raises:
        ConfigError: if items are coded in more bytes than the width.
    """
    train_repeatably()
    labels = load_soft_labels(train_folder)
    segments = fit_segments(prepared, seed)
    examples = examples_of(prepared, labels.baskets, settings.history_length, segments)
    items = len(prepared.items.item_id) - 1
    coded = coded_by_default(items) if settings.item_codes is None else settings.item_codes
    if coded:
        check_code_bytes(settings.code_bytes, settings.width)
    spec = DeviceModelSpec(
        items=items,
        context=context_fields(segments),
        history_length=settings.history_length,
        candidates=min(settings.candidates, items),
        width=settings.width,
    )
    table, divisor, middle = initial_table(labels, settings.width)
    model = DeviceModel.create(spec, table, seed, default_recipe(settings.recipe))
    model.adapter["popularity"].assign([divisor])
    model.adapter["copy_offset"].assign([-middle])  # the history's scores keep their height over the others'
    distil(
        model,
        examples,
        labels,
        settings.recipe,
        seed,
        lambda done, total: progress("distil the device model", done, total),
    )
    save_distilled(model, folder / DISTILLED)
    if coded:
        prepared = code_items(
            model,
            prepared,
            labels,
            settings.recipe,
            settings.code_bytes,
            seed,
            lambda done, total: progress("train with item codes", done, total),
        )
        model.recipe = replace(model.recipe, table=model.recipe.dense, code_bytes=settings.code_bytes)
    elif choose is not None:
        model.recipe = choose(model)
    return finish(model, prepared, folder, settings, seed, progress)


def save_distilled(model: DeviceModel, folder: Path) -> None:
    """Write what `load_distilled` reads: the floats before they are stored, and the grid that the table was trained on.

    Args:
        model: distilled.
        folder: `DISTILLED` in that of the step; made here.
    """
    folder.mkdir()
    floats = Recipe(model.recipe.pruned, dense="float32", table="float32", activations="float32")
    save_device_model(compressed(model, floats), folder, floats.name)
    (folder / GRID).write_bytes(msgspec.json.encode(model.table.frozen().scale))


def load_distilled(folder: Path) -> DeviceModel:
    """The model that `compress` distilled, as it was before it was stored.

    Args:
        folder: where `compress` wrote.

    Raises:
        RunError: if there is none.
    """
    model = load_device_model(folder / DISTILLED)
    model.table = TrainableTable(model.table.frozen().values())
    try:
        model.table.scale.assign(msgspec.json.decode((folder / DISTILLED / GRID).read_bytes(), type=float))
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{folder / DISTILLED} holds no grid ({error}): compress again") from None
    return model


def warm_start(
    prepared: Prepared,
    train_folder: Path,
    compress_folder: Path,
    folder: Path,
    settings: CompressSettings,
    seed: int,
    progress: Progress,
    item_id: Sequence[str] | None = None,
) -> str:
    """Go on from a finished device model on the weeks that its training did not see, the validation weeks.

    Same files in `folder` and same answer as `compress`.

    Args:
        prepared: the log, whose catalogue is the teacher's.
        train_folder: where the teacher is.
        compress_folder: where the device model is.
        folder, settings, seed, progress: as for `compress`.
        item_id: the device model's catalogue, padding's first, where it is another than the log's: items that it never
            saw start from their attributes. By default it is the same.
    """
    train_repeatably()
    model = load_device_model(compress_folder)
    if item_id is not None:
        model = grown_model(model, match_items(item_id, prepared.items.item_id), prepared.items)
    model.thaw_table()
    segments = fit_segments(prepared, seed)
    newer = draw_baskets(prepared, VALIDATION, settings.warm_start_examples, seed)
    examples = examples_of(prepared, newer, settings.history_length, segments)
    new_items = label_new_items(
        NewItemLabeller(prepared), examples, lambda done, total: progress("label newer weeks", done, total)
    )
    labels = make_soft_labels(load_teacher(train_folder, prepared), examples, new_items)
    order = load_item_order(compress_folder)
    if order is not None:
        prepared, labels = renumbered_log(prepared, order), renumbered_labels(labels, order)
        examples = examples_of(prepared, newer, settings.history_length, fit_segments(prepared, seed))
    steps = settings.warm_start_steps
    gentle = replace(settings.recipe.slower(WARM_START_SLOWER), steps=steps, sparsity=0.0)  # what is pruned stays so
    with zeros_kept(model):
        distil(model, examples, labels, gentle, seed, lambda done, total: progress("warm start", done, total))
    return finish(model, prepared, folder, settings, seed, progress)


def finish(
    model: DeviceModel, prepared: Prepared, folder: Path, settings: CompressSettings, seed: int, progress: Progress
) -> str:
    """Store by the model's recipe, set the copy head's height on the validation weeks, save, evaluate on test weeks.

    Args and answer as for `compress`.
    """
    segments = fit_segments(prepared, seed)

    def histories(cases: Cases) -> Histories:
        context = context_of(prepared, cases.baskets, segments)
        return histories_of(prepared, cases.baskets, settings.history_length, context)

    finished = compressed(model, model.recipe)
    validation, people = cases_for(prepared, VALIDATION), len(prepared.pseudonym)
    calibrate(finished, histories(validation), validation, people)
    version = save_device_model(finished, folder, finished.recipe.name)
    cases = cases_for(prepared, TEST)
    found = evaluate_device_model(finished, histories(cases), cases, people, progress)
    save_people_quality(folder, {"device_float": found})
    return version


def calibrate(model: DeviceModel, histories: Histories, cases: Cases, people: int) -> None:
    """Set the height of the history's scores over the others' to what ranks the cases' baskets best.

    Args:
        model: as it is stored; changed in place.
        histories: before each of the cases.
        cases: of validation weeks.
        people: number of all people.
    """
    model.adapter["copy_offset"].assign_add([best_offset(scores_of(model, histories), cases, people)])


def scores_of(model: DeviceModel, histories: Histories) -> Encoded:
    """The model's scores of catalogue and history in float32, many histories at once."""
    table = torch.from_numpy(model.table.frozen().values())
    encode = tf.function(model.encode, reduce_retracing=True)

    def parts(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        some = histories[rows]
        query, base, gain = encode(*(tf.constant(value) for value in vars(some).values()))
        items = torch.from_numpy(some.items).long()
        scores = torch.from_numpy(query.numpy()) @ table.T
        if model.successors is not None:
            scores += float(model.successors.heed) * model.successors.log_shares(some.items)
        return scores, items, torch.from_numpy((base + gain).numpy())

    return parts


def evaluate_device_model(
    model: DeviceModel, histories: Histories, cases: Cases, people: int, progress: Progress
) -> PersonMetrics:
    """Quality of the model in float32.

    Args:
        model: over any table.
        histories: before each of the cases.
        cases: the task.
        people: number of all people.
        progress: as for `compress`.
    """
    parts = scores_of(model, histories)

    def score(rows: np.ndarray) -> torch.Tensor:
        scores, items, own = parts(rows)
        return scores.scatter(1, items, own)

    return evaluate(score, cases, people, partial(progress, "evaluate the device model"))
