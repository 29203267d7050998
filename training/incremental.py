"""Training that goes on from a finished teacher on the weeks that have come since.

Items are matched by their id. A new item's own vector starts as the mean of those of the known items of its category,
department and brand, to which the teacher's vectors of these are added as for every item; nothing of a removed item is
read. New weeks are learned from together with as many older baskets, at a small share of the rate, so that what they
say is added to what is known (rehearsal: Robins 1995, "Catastrophic forgetting, rehearsal and pseudorehearsal").
"""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from contracts.errors import CheckFailed, ConfigError, DataError, RunError
from training.attributes import attribute_values
from training.baselines.popularity import purchase_counts
from training.cases import TRAIN
from training.context import context_of
from training.evaluation import evaluate
from training.examples import Examples, draw_alike, draw_baskets, examples_of
from training.fit_teacher import Fit, fit_teacher
from training.gate import GateDecision, judge, newest_week
from training.histories import histories_of
from training.new_item_labels import NewItemLabeller, NewItemLabels
from training.origin import Origin, OriginScores, day_of
from training.prepared import Prepared
from training.segments import fit_segments
from training.soft_labels import label_new_items
from training.split import WEEK_MS
from training.teacher import Teacher, TeacherShape, attribute_codes
from training.train import Progress, TrainSettings, calibrate, finish

GATE = "gate.json"
RATE_SHARE = 0.02  # of the learning rates of a first training, chosen on validation weeks: see docs/decisions.md
NEWER_SHARE = 0.5  # of the baskets that are learned from
PER_ITEM = ("own.weight", "repeat", "attributes", "popularity")  # tensors with a row for each item of a catalogue
PER_KIND = "kinds."


def continue_training(
    prepared: Prepared,
    origin: Origin,
    folder: Path,
    settings: TrainSettings,
    seed: int,
    progress: Progress,
    checkpoint: Path | None = None,
) -> Fit:
    """Fit a teacher that starts as the origin's, and keep it unless the gate refuses it.

    Writes what `training.train.train` writes, and `gate.json`.

    Args:
        prepared: the grown log; phones are not read.
        origin: the teacher to go on from.
        folder: existing and empty.
        settings: how much and how long; `recipe.steps` are those of the continuation.
        seed: of everything random.
        progress: called with what is done, how far it is, and how far it goes.
        checkpoint: a file in which the teacher is kept while it trains, and from which it goes on.

    Raises:
        ConfigError: if the settings ask for another shape than the origin's.
        DataError: if the log holds nothing newer.
        RunError: if the catalogues share no item.
        CheckFailed: if the newest week shows the teacher to be worse than the origin's.
    """
    torch.use_deterministic_algorithms(True)
    newer, older = _baskets(prepared, origin, settings.examples, seed)
    teacher = start_teacher(origin, prepared, settings.recipe.shape, seed)
    segments = fit_segments(prepared, seed)
    week = newest_week(prepared)
    examples = examples_of(prepared, np.sort(np.concatenate([newer, older])), settings.history_length, segments)
    labels = label_new_items(
        NewItemLabeller(prepared), examples, lambda done, total: progress("label new items", done, total)
    )
    rehearsed = draw_alike(prepared, older, len(newer), seed)
    rows = np.flatnonzero(np.isin(examples.baskets, np.concatenate([newer, rehearsed])))
    recipe = settings.recipe
    fit = fit_teacher(
        teacher,
        replace(recipe, rate=recipe.rate * RATE_SHARE, copy_rate=recipe.copy_rate * RATE_SHARE),
        Examples(prepared, examples.baskets[rows], examples.histories[rows]),
        NewItemLabels(labels.items[rows], labels.share[rows]),
        seed,
        progress,
        device=settings.device,
        checkpoint=checkpoint,
    )
    calibrate(teacher, prepared, settings.history_length, segments)
    histories = histories_of(
        prepared, week.baskets, settings.history_length, context_of(prepared, week.baskets, segments)
    )
    before = OriginScores(origin, prepared.items.item_id)
    people = len(prepared.pseudonym)
    decision = judge(
        evaluate(lambda rows: teacher.scores(histories[rows]), week, people),
        evaluate(lambda rows: before.scores(histories[rows]), week, people),
        prepared.record.end_ms - WEEK_MS,
        seed,
    )
    if not decision.accepted:
        raise CheckFailed(
            f"the continued teacher is worse than the one it came from: {decision.reason}; nothing was replaced: "
            "train anew without --from, or lower [teacher] learning_rate or continue_steps"
        )
    finish(teacher, examples, labels, folder, settings.history_length, segments, progress)
    (folder / GATE).write_bytes(msgspec.json.format(msgspec.json.encode(decision), indent=2))
    return fit


def load_decision(folder: Path) -> GateDecision | None:
    """What the gate decided of the teacher in a folder; None where it did not go on from another.

    Raises:
        RunError: if the file is damaged.
    """
    try:
        return msgspec.json.decode((folder / GATE).read_bytes(), type=GateDecision)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{folder / GATE} cannot be read ({error}): run `pocketrec train --from` again") from None


def require_newer(prepared: Prepared, origin: Origin) -> None:
    """Raises DataError if the log has no training week that the origin's lacked, and weeks to measure both on."""
    if prepared.record.protocol == "leave_one_out":
        raise DataError(
            'protocol = "leave_one_out" under [split] holds out no weeks on which to measure what --from goes on with: '
            'train without --from, or take protocol = "next_basket" or "global_time"'
        )
    if prepared.record.end_ms <= origin.record.end_ms:
        raise DataError(
            f"the log ends on {day_of(prepared.record.end_ms)} and holds nothing newer than that of --from, which ends "
            f"on {origin.ends}: add the events since, or train without --from"
        )
    if prepared.record.train_end_ms <= origin.record.train_end_ms:
        raise DataError(
            f"the training weeks end on {day_of(prepared.record.train_end_ms)}, those of --from ended on "
            f"{day_of(origin.record.train_end_ms)}: shorten validation_weeks or test_weeks under [split]"
        )


def _baskets(prepared: Prepared, origin: Origin, most: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Baskets of the weeks since and of those before, at most so many together."""
    require_newer(prepared, origin)
    every = draw_baskets(prepared, TRAIN, len(prepared.basket_person), seed)
    since = prepared.basket_time_ms[every] >= origin.record.train_end_ms
    if not since.any():
        raise DataError(
            f"no training basket since {day_of(origin.record.train_end_ms)} has an earlier one of its person: nothing "
            "newer can be learned, continue when more has happened"
        )
    newer = draw_alike(prepared, every[since], max(int(most * NEWER_SHARE), 1), seed)
    return newer, draw_alike(prepared, every[~since], max(most - len(newer), 0), seed)


def start_teacher(origin: Origin, prepared: Prepared, shape: TeacherShape, seed: int) -> Teacher:
    """The origin's teacher over another catalogue.

    Args:
        origin: what is continued.
        prepared: the log with the other catalogue.
        shape: that the settings ask for.
        seed: of what the origin says nothing about.

    Raises:
        ConfigError: if the shape is not the origin's.
        RunError: if the catalogues share no item.
    """
    if _told(shape) != _told(origin.teacher.shape):
        raise ConfigError(
            f"[model] and [teacher] ask for {_told(shape)}, the teacher of --from has {_told(origin.teacher.shape)}: "
            "set them alike, or train without --from"
        )
    known = origin.indices(prepared.items.item_id)
    if not known.any():
        raise RunError(
            f"the teacher in {origin.folder} knows none of the {len(known) - 1:,} items of this catalogue: "
            "name a run of the same shop, or train without --from"
        )
    torch.manual_seed(seed)
    codes = attribute_codes(prepared.items, shape.price_bands)
    teacher = Teacher(shape, codes, purchase_counts(prepared))
    fresh, old = teacher.state_dict(), origin.teacher.state_dict()
    for name in fresh:
        if name not in PER_ITEM and not name.startswith(PER_KIND):
            fresh[name] = old[name]
    columns = attribute_values(prepared.items, shape.price_bands)
    for number, (values, names) in enumerate(zip(columns, origin.kinds, strict=True)):
        name = f"{PER_KIND}{number}.weight"
        own = {value: code for code, value in enumerate(names, start=1)}
        kept = np.array([0, *(own.get(str(value), -1) for value in np.unique(np.array(values[1:], dtype=str)))])
        fresh[name][kept >= 0] = old[name][kept[kept >= 0]]
    for name in ("own.weight", "repeat"):
        fresh[name] = _per_item(fresh[name], old[name], known, codes)
    teacher.load_state_dict(fresh)
    return teacher


def _per_item(
    fresh: torch.Tensor, old: torch.Tensor, known: NDArray[np.int64], codes: NDArray[np.int64]
) -> torch.Tensor:
    """Rows of known items as they were; of a new item, the mean over its attributes of the known items that share each.

    Args:
        fresh: float32 [items + 1, ...], what remains of an item of which nothing is known.
        old: float32 [old items + 1, ...].
        known: int64 [items + 1], the old index, 0 for none.
        codes: int64 [attributes, items + 1].
    """
    has = torch.from_numpy(known > 0)
    has[0] = True  # padding
    rows = torch.where(has.view(-1, *[1] * (old.dim() - 1)), old[torch.from_numpy(known)], fresh)
    flat = rows.reshape(len(rows), -1).double()
    total, voices = torch.zeros_like(flat), torch.zeros(len(rows), 1, dtype=torch.double)
    counted = torch.from_numpy(known > 0).double()[:, None]
    for kind in torch.from_numpy(codes):
        kinds = int(kind.max()) + 1
        sums = torch.zeros(kinds, flat.shape[1], dtype=torch.double).index_add_(0, kind, flat * counted)
        number = torch.zeros(kinds, 1, dtype=torch.double).index_add_(0, kind, counted)
        total += (sums / number.clamp(min=1))[kind]
        voices += (number > 0).double()[kind]
    told = ~has & (voices[:, 0] > 0)
    mean = (total / voices.clamp(min=1)).float().reshape(rows.shape)
    rows[told] = mean[told]
    return rows


def _told(shape: TeacherShape) -> str:
    """All of a shape that its weights depend on."""
    bands = f", {shape.price_bands} price bands" if shape.price_bands else ""
    return f"width {shape.width}, {shape.blocks} blocks, {shape.heads} heads and {shape.recent} recent items{bands}"
