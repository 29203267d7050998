"""Central training for the next-item task: from a prepared log to a causal teacher and what it says of every event."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from contracts.errors import DataError, RunError
from training.cases import TEST, VALIDATION, Cases
from training.checkpoint import UNREADABLE, reason
from training.evaluation import evaluate
from training.histories import histories_of
from training.machine import AUTO, CPU, find_machine
from training.people_quality import save_people_quality
from training.prepared import Prepared
from training.protocols import cases_for
from training.sequence.fit import Epoch, NextItemRecipe, fit_next_item
from training.sequence.heed import best_heed, choices_of
from training.sequence.initial_vectors import new_transformer
from training.sequence.sequences import Sequences
from training.sequence.soft_labels import make_next_item_labels, save_next_item_labels
from training.sequence.transformer import NextItemTransformer, TransformerShape
from training.sequence.transitions import NextItemTeacher, Transitions
from training.train import evaluate_baselines

TEACHER = "next_item_teacher.pt"
SHARES = ("data", "indices", "indptr")  # of the transitions' matrix
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
    teacher = _with_transitions(model, Transitions.of(sequences), prepared, settings.history_length)
    labels = make_next_item_labels(
        teacher, sequences, settings.labels, lambda done, total: progress("ask the teacher", done, total)
    )
    save_next_item_labels(labels, folder)
    model.to(CPU)
    _save(teacher, folder)
    cases = cases_for(prepared, TEST)
    found = evaluate_baselines(prepared, cases, progress)
    recent = recent_items(prepared, cases, settings.history_length)
    found["teacher"] = evaluate(
        lambda rows: teacher.scores(recent[rows]),
        cases,
        len(prepared.pseudonym),
        partial(progress, "evaluate the teacher"),
    )
    save_people_quality(folder, found)
    return speed


def recent_items(prepared: Prepared, cases: Cases, length: int) -> NDArray[np.int32]:
    """int32 [n, length]: distinct items before each case, the latest last, 0 before the first."""
    return histories_of(prepared, cases.baskets, length, np.zeros((len(cases), 0), np.int32)).items


def _with_transitions(
    model: NextItemTransformer, transitions: Transitions, prepared: Prepared, length: int
) -> NextItemTeacher:
    """A trained transformer with transitions heeded as the validation weeks say."""
    cases = cases_for(prepared, VALIDATION)
    recent = recent_items(prepared, cases, length)
    choices = choices_of(
        cases, lambda rows: model.scores(recent[rows]), lambda rows: transitions.log_shares(recent[rows])
    )
    return NextItemTeacher(model, transitions, best_heed(choices))


def _save(teacher: NextItemTeacher, folder: Path) -> None:
    shares = teacher.transitions.shares
    saved = {
        "shape": asdict(teacher.transformer.shape),
        "weights": teacher.transformer.state_dict(),
        "heed": teacher.heed,
        **{name: torch.from_numpy(getattr(shares, name).copy()) for name in SHARES},
    }
    torch.save(saved, folder / TEACHER)


def load_next_item_teacher(folder: Path, items: int) -> NextItemTeacher:
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
        shares = sp.csr_matrix(tuple(saved[name].numpy() for name in SHARES), shape=(items + 1, items + 1))
    except UNREADABLE as error:
        raise RunError(
            f"{folder / TEACHER} is no teacher of this catalogue ({reason(error)}): run `pocketrec train` again"
        ) from None
    return NextItemTeacher(model.eval(), Transitions(shares), saved["heed"])
