"""Central training for the next-item task: from a prepared log to a causal teacher and what it says of every event."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from contracts.errors import DataError, RunError
from training.cases import TEST
from training.checkpoint import UNREADABLE, reason
from training.evaluation import evaluate
from training.histories import histories_of
from training.machine import AUTO, CPU, find_machine
from training.people_quality import save_people_quality
from training.prepared import Prepared
from training.protocols import cases_for
from training.sequence.fit import Epoch, NextItemRecipe, fit_next_item
from training.sequence.initial_vectors import new_transformer
from training.sequence.sequences import Sequences
from training.sequence.soft_labels import make_next_item_labels, save_next_item_labels
from training.sequence.transformer import NextItemTransformer, TransformerShape
from training.train import evaluate_baselines

TEACHER = "next_item_teacher.pt"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class NextItemSettings:
    history_length: int = 200  # L, of the teacher too
    recipe: NextItemRecipe = field(default_factory=NextItemRecipe)
    labels: int = 64  # of the teacher's best items after every event
    device: str = AUTO  # see `training.machine`


def first_takes(prepared: Prepared, last_split: int) -> Sequences:
    """What central people took for the first time, in order of time: a later event with the same item is left out.

    Taking is an event of a type that is to be foreseen.

    Args:
        prepared: the log; phones are not read.
        last_split: the latest of the splits whose events are taken.

    Raises:
        DataError: if nobody took two items.
    """
    events = prepared.events
    central = ~prepared.is_phone[events.person]
    wanted = central & prepared.is_target & (prepared.basket_split[events.basket] <= last_split)
    person, item = events.person[wanted], events.item[wanted]
    pairs = person.astype(np.int64) * len(prepared.items.item_id) + item
    _, first = np.unique(pairs, return_index=True)
    first.sort()
    sizes = np.bincount(person[first], minlength=len(prepared.pseudonym))
    if sizes.max(initial=0) < 2:
        raise DataError("nothing to learn from: nobody took two different items; use a longer log")
    return Sequences(
        item[first], np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), len(prepared.items.item_id) - 1
    )


def train_next_item(
    prepared: Prepared,
    folder: Path,
    settings: NextItemSettings,
    seed: int,
    progress: Progress,
    checkpoint: Path | None = None,
) -> float:
    """Fit and evaluate everything central.

    Writes into `folder`: `next_item_teacher.pt`, `next_item_labels.npz` of every event of the training weeks, and
    `people_quality.npz` (every baseline and `teacher`, on the test baskets).

    Args:
        prepared: the log; phones are not read.
        folder: existing and empty.
        settings: how large and how long.
        seed: of everything random.
        progress: called with what is done, how far it is, and how far it goes.
        checkpoint: a file in which the teacher is kept while it trains, and from which it goes on.

    Returns:
        Targets learned from in a second.

    Raises:
        DataError: if there is nothing to learn from.
        RunError: if the checkpoint is damaged.
    """
    sequences = first_takes(prepared, 0)
    recipe = replace(settings.recipe, shape=replace(settings.recipe.shape, length=settings.history_length))
    machine = find_machine(settings.device)
    model = new_transformer(recipe.shape, sequences, seed).to(machine.device)
    started, learned = time.monotonic(), 0

    def after_epoch(epoch: Epoch, _: NextItemTransformer) -> None:
        nonlocal learned
        learned += epoch.positions
        speed = learned / (time.monotonic() - started)
        progress(f"train the teacher, {speed:,.0f} targets/s", epoch.number, recipe.epochs)

    model = fit_next_item(model, sequences, recipe, seed, after_epoch, checkpoint, machine)
    speed = learned / (time.monotonic() - started)
    labels = make_next_item_labels(
        model, sequences, settings.labels, lambda done, total: progress("ask the teacher", done, total)
    )
    save_next_item_labels(labels, folder)
    model.to(CPU)
    torch.save({"shape": asdict(model.shape), "weights": model.state_dict()}, folder / TEACHER)
    cases = cases_for(prepared, TEST)
    found = evaluate_baselines(prepared, cases, progress)
    context = np.zeros((len(cases), 0), np.int32)
    recent = histories_of(prepared, cases.baskets, settings.history_length, context).items
    found["teacher"] = evaluate(
        lambda rows: model.scores(recent[rows]),
        cases,
        len(prepared.pseudonym),
        partial(progress, "evaluate the teacher"),
    )
    save_people_quality(folder, found)
    return speed


def load_next_item_teacher(folder: Path, items: int) -> NextItemTransformer:
    """The teacher that `train_next_item` left behind.

    Args:
        folder: of the finished training.
        items: of the catalogue.

    Raises:
        RunError: if the folder holds none, or one of another catalogue.
    """
    try:
        saved = torch.load(folder / TEACHER, weights_only=True)
        model = NextItemTransformer(TransformerShape(**saved["shape"]), items)
        model.load_state_dict(saved["weights"])
    except UNREADABLE as error:
        raise RunError(
            f"{folder / TEACHER} is no teacher of this catalogue ({reason(error)}): run `pocketrec train` again"
        ) from None
    return model.eval()
