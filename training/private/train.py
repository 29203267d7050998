"""Central training with privacy: from a prepared log to a private teacher and what a device model may learn from."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import torch

from contracts.bundle import ContextField
from contracts.errors import DataError, RunError
from contracts.noise import secure_coins
from contracts.privacy import Charge
from training.cases import TEST
from training.context import context_fields
from training.evaluation import evaluate
from training.histories import histories_of
from training.people_quality import save_people_quality
from training.prepared import Prepared
from training.private.examples import latest_baskets, next_basket_examples, training_sequences
from training.private.fit import ChargeIt, PrivateRecipe, fit_private_teacher
from training.private.histories import DrawRecipe, draw_histories
from training.private.lessons import save_drawn, teach
from training.private.plan import plan_privacy
from training.private.teacher import PrivateTeacher
from training.protocols import cases_for
from training.segments import Segments
from training.soft_labels import save_soft_labels
from training.train import evaluate_baselines

TEACHER, SHAPE = "private_teacher.pt", "private_device.json"
EXAMPLES = 32  # latest baskets of a person, from which each step draws
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PrivateTrainSettings:
    epsilon: float
    delta: float
    width: int  # of the device model's vectors, without the columns for biases
    history_length: int = 256  # L
    recipe: PrivateRecipe = field(default_factory=PrivateRecipe)
    draw: DrawRecipe = field(default_factory=DrawRecipe)


class DeviceInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What a device model must know of its inputs, so that distillation need not ask the data."""

    items: int
    history_length: int
    context: tuple[ContextField, ...]


def people_of(prepared: Prepared) -> int:
    """Whose data are used: central people, whether or not they did anything."""
    return int((~prepared.is_phone).sum())


def train_privately(
    prepared: Prepared,
    folder: Path,
    settings: PrivateTrainSettings,
    charged: Sequence[Charge],
    charge: ChargeIt,
    segments: Segments,
    seed: int,
    progress: Progress,
) -> PrivateTeacher:
    """Train, draw histories, and evaluate.

    Writes into `folder`: `private_teacher.pt`, `drawn_histories.npz`, `soft_labels.npz` and `private_device.json`, all
    of which depend on people only through what was charged; and `people_quality.npz`, exact figures of the test people,
    which are outside the guarantee. Outside it, too: the catalogue and its order, and the segments' names.

    Args:
        prepared: the log; phones are not read.
        folder: existing and empty.
        settings: budget and recipe.
        charged: what an earlier training of the same people cost; the budget is for all together.
        charge: called with each release before its noise is drawn.
        segments: whose names the device model's context lists.
        seed: of what needs no secret.
        progress: called with what is done, how far it is, and how far it goes.

    Raises:
        ConfigError: if the budget cannot be met.
        DataError: if there are too few people or baskets.
    """
    recipe, length = settings.recipe, settings.history_length
    steps = recipe.steps
    plan = plan_privacy(
        settings.epsilon, settings.delta, people_of(prepared), steps.sampling_rate, steps.steps, charged
    )
    baskets = latest_baskets(prepared, EXAMPLES)
    if not len(baskets):
        raise DataError("nothing to learn from: no training basket has one before it; it takes people with two")
    teacher = fit_private_teacher(
        training_sequences(prepared, secure_coins),
        next_basket_examples(prepared, baskets, length, secure_coins),
        plan,
        recipe,
        charge,
        seed,
        lambda done, total: progress("train the private teacher", done, total),
    )
    torch.save({"shape": asdict(teacher.shape), "weights": teacher.state_dict()}, folder / TEACHER)
    drawn = draw_histories(
        teacher, length, settings.draw, seed, lambda done, total: progress("draw histories", done, total)
    )
    save_drawn(drawn, folder)
    save_soft_labels(teach(teacher, drawn, settings.width, seed), folder)
    inputs = DeviceInputs(items=teacher.items - 1, history_length=length, context=context_fields(segments))
    (folder / SHAPE).write_bytes(msgspec.json.encode(inputs))
    cases = cases_for(prepared, TEST)
    found = evaluate_baselines(prepared, cases, progress)
    histories = histories_of(prepared, cases.baskets, length, np.zeros((len(cases), 0), np.int32))
    found["teacher"] = evaluate(lambda rows: teacher.scores(histories[rows]), cases, len(prepared.pseudonym))
    save_people_quality(folder, found)
    return teacher


def load_device_inputs(folder: Path) -> DeviceInputs:
    """What `train_privately` wrote of the device model's inputs.

    Raises:
        RunError: if the folder holds none.
    """
    try:
        return msgspec.json.decode((folder / SHAPE).read_bytes(), type=DeviceInputs)
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{folder} holds no private training ({error}): run `pocketrec train` again") from None
