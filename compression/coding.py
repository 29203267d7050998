"""From a distilled model over a table to one over item codes: renumbered by lists, and trained on as a whole.

A dense model is distilled first, and its vectors decide which items stand in one list and where codewords start. Then
encoders, codewords and codes are trained jointly for a third as many steps, at a quarter of the rates.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compression.balanced_lists import list_order
from compression.checkpoint import load_item_order
from compression.device_model import DeviceModel
from compression.distillation import DistillationRecipe, distil
from compression.item_codes import TrainableCodes, list_length
from compression.item_table import TrainableTable
from compression.kept_zeros import zeros_kept
from compression.renumbering import renumbered_labels, renumbered_log
from contracts.errors import ConfigError
from training.examples import examples_of
from training.prepared import Prepared, load_prepared
from training.segments import fit_segments
from training.soft_labels import SoftLabels

CODED_FROM = 50_000  # items: from here on codes are faster, too; measured, see docs/results.md
JOINT_SHARE, SLOWER = 1 / 3, 4  # of the steps of a distillation, and of its rates
LEAST_MATTERING = 0.1  # of the mean column: what queries hardly look at today must not be free to go wrong


def coded_by_default(items: int) -> bool:
    """Whether a build codes a catalogue of this size where the project does not say."""
    return items >= CODED_FROM


def check_code_bytes(code_bytes: int, width: int) -> None:
    """Raises ConfigError if a model's vectors cannot be coded in so many bytes."""
    if code_bytes > width:
        raise ConfigError(
            f"code_bytes = {code_bytes} under [compression] is more than the model's vectors are wide: take at most "
            f'{width}, or item_codes = "off"'
        )


def column_weights(labels: SoftLabels, divisor: float) -> NDArray[np.float32]:
    """How much a squared error in each column of a device table matters to a score.

    Args:
        labels: whose queries the table meets.
        divisor: what popularity was divided by in the table's last but one column.

    Returns:
        float32 [width], the mean square of what queries multiply each column with.
    """
    free = np.square(labels.query).mean(0)
    return np.concatenate([np.maximum(free, free.mean() * LEAST_MATTERING), [divisor**2, 1.0]]).astype(np.float32)


def joint_recipe(recipe: DistillationRecipe) -> DistillationRecipe:
    """How a model is trained on jointly with its codes."""
    return replace(recipe.slower(SLOWER), steps=max(round(recipe.steps * JOINT_SHARE), 1), sparsity=0.0)


def trainable_codes(
    values: NDArray[np.float32],
    labels: SoftLabels,
    weights: NDArray[np.float32],
    order: NDArray[np.int64],
    code_bytes: int,
    seed: int,
) -> TrainableCodes:
    """Codes for a table, to be trained.

    Args:
        values: float32 [items + 1, width], under the log's numbering.
        labels: under the log's numbering.
        weights: see `column_weights`.
        order: of the lists, see `compression.balanced_lists`.
        code_bytes: of an item, at most width.
        seed: of the fit.
    """
    importance = np.exp(labels.popularity[order])  # as often as they are asked for: they fill the best ten
    slots = list_length(len(values) - 1)
    return TrainableCodes(values[order], slots, code_bytes, weights, importance, seed, order)


def code_items(
    model: DeviceModel,
    prepared: Prepared,
    labels: SoftLabels,
    recipe: DistillationRecipe,
    code_bytes: int,
    seed: int,
    progress: Callable[[int, int], None],
) -> Prepared:
    """Put a model over item codes, in place.

    Args:
        model: distilled, over a `TrainableTable`.
        prepared: the log.
        labels: that it was distilled from.
        recipe: by which it was distilled.
        code_bytes: of an item, at most the model's width.
        seed: of everything random.
        progress: called with steps done and all steps.

    Returns:
        The log under the model's numbering.
    """
    assert isinstance(model.table, TrainableTable)
    values = model.table.values.numpy()
    weights = column_weights(labels, float(model.adapter["popularity"].numpy()[0]))
    order = list_order(values * np.sqrt(weights), list_length(model.spec.items), seed)
    model.table = trainable_codes(values, labels, weights, order, code_bytes, seed)
    moved = renumbered_log(prepared, order)
    examples = examples_of(moved, labels.baskets, model.spec.history_length, fit_segments(moved, seed))
    with zeros_kept(model):
        distil(model, examples, renumbered_labels(labels, order), joint_recipe(recipe), seed, progress)
    return moved


def load_prepared_as(prepare_folder: Path, model_folder: Path) -> Prepared:
    """The log under the numbering of a finished device model, which item codes change.

    Args:
        prepare_folder: where `training.prepare` wrote.
        model_folder: where the model was saved.
    """
    prepared, order = load_prepared(prepare_folder), load_item_order(model_folder)
    return prepared if order is None else renumbered_log(prepared, order)
