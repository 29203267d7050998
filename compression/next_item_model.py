"""The device model of the next-item task, from a finished next-item training: as `compression.compress` for baskets."""

from dataclasses import dataclass, replace
from pathlib import Path

from compression.checkpoint import load_device_model
from compression.compress import DISTILLED, Choose, CompressSettings, Progress, finish, save_distilled, scores_of
from compression.device_model import DeviceModel, DeviceModelSpec
from compression.kept_zeros import zeros_kept
from compression.next_item import NextItemDistillation, distil_next_item, new_student
from compression.recipe import Recipe
from compression.repeatable import train_repeatably
from compression.successors import Successors
from training.cases import TRAIN, VALIDATION
from training.context import context_fields, context_of
from training.histories import histories_of
from training.prepared import Prepared
from training.protocols import cases_for
from training.segments import Segments, fit_segments
from training.sequence.heed import best_heed, choices_of
from training.sequence.soft_labels import load_next_item_labels, make_next_item_labels
from training.sequence.train import first_takes, load_next_item_teacher
from training.sequence.transitions import Transitions

SLOWER = 10  # than distillation, where a finished model goes on


@dataclass(frozen=True)
class BlockShapes:
    """Of the encoder, as `DeviceModelSpec` has them."""

    blocks: int = 2
    hidden: int = 0
    feed: int = 4


def compress_next_item(
    prepared: Prepared,
    train_folder: Path,
    folder: Path,
    settings: CompressSettings,
    recipe: NextItemDistillation,
    blocks: BlockShapes,
    seed: int,
    progress: Progress,
    choose: Choose | None = None,
) -> str:
    """Distil, prune, quantize, evaluate and save; files and answer as of `compress`.

    Args:
        prepared: the log; phones are not read.
        train_folder: where `training.sequence.train` wrote.
        folder: existing and empty.
        settings: shapes.
        recipe: of the distillation.
        blocks: at least one.
        seed: of everything random.
        progress: called with what is done, how far it is, and how far it goes.
        choose: says how to store the distilled model; by default all is int8.
    """
    train_repeatably()
    labels, segments = load_next_item_labels(train_folder), fit_segments(prepared, seed)
    items = len(prepared.items.item_id) - 1
    spec = DeviceModelSpec(
        items=items,
        context=context_fields(segments),
        history_length=settings.history_length,
        candidates=min(settings.candidates, items),
        width=settings.width,
        **vars(blocks),
    )
    model = new_student(spec, labels, seed, Recipe(round(100 * recipe.sparsity)))
    distil_next_item(
        model,
        first_takes(prepared, TRAIN),
        labels,
        recipe,
        seed,
        lambda done, total: progress("distil the device model", done, total),
    )
    model.successors = _successors(model, prepared, train_folder, settings, segments)
    save_distilled(model, folder / DISTILLED)
    if choose is not None:
        model.recipe = choose(model)
    return finish(model, prepared, folder, settings, seed, progress)


def _successors(
    model: DeviceModel, prepared: Prepared, train_folder: Path, settings: CompressSettings, segments: Segments
) -> Successors | None:
    """What the teacher counted, as far as it is kept, heeded as the validation weeks say; none where not at all."""
    if not settings.successors:
        return None
    transitions = load_next_item_teacher(train_folder, model.spec.items).transitions
    successors = Successors.of(transitions, settings.successors, 0.0)
    cases = cases_for(prepared, VALIDATION)
    context = context_of(prepared, cases.baskets, segments)
    histories = histories_of(prepared, cases.baskets, settings.history_length, context)
    parts = scores_of(model, histories)
    choices = choices_of(cases, lambda rows: parts(rows)[0], lambda rows: successors.log_shares(histories.items[rows]))
    heed = best_heed(choices)
    return successors.heeded(heed) if heed else None


def warm_start_next_item(
    prepared: Prepared,
    train_folder: Path,
    compress_folder: Path,
    folder: Path,
    settings: CompressSettings,
    recipe: NextItemDistillation,
    seed: int,
    progress: Progress,
) -> str:
    """Go on for one epoch that has the validation weeks too; files and answer as of `compress`."""
    train_repeatably()
    model = load_device_model(compress_folder)
    model.thaw_table()
    sequences = first_takes(prepared, VALIDATION)
    teacher = load_next_item_teacher(train_folder, model.spec.items)
    most = load_next_item_labels(train_folder).items.shape[1]
    labels = make_next_item_labels(
        teacher, sequences, most, lambda done, total: progress("ask the teacher", done, total)
    )
    if model.successors is not None:
        model.successors = model.successors.recounted(Transitions.of(sequences))
    gentle = replace(recipe.slower(SLOWER), epochs=1)
    with zeros_kept(model):
        distil_next_item(
            model, sequences, labels, gentle, seed, lambda done, total: progress("warm start", done, total)
        )
    return finish(model, prepared, folder, settings, seed, progress)
