"""The steps `train` and `compress` of a project whose people are protected by differential privacy."""

import math
from collections.abc import Sequence

from contracts.privacy import Charge
from contracts.project import Project
from federated.coverage import CENTRAL_WITHOUT_PRIVACY
from federated.ledger import Budget, Ledger, LedgerEntry, ledger_epsilon, read_ledger
from pocketrec.preparation import PREPARE
from pocketrec.run_directory import RunDirectory
from pocketrec.steps import StepContext

PRIVATE = "private"
STEPS_RELEASE = "steps"  # of DP-SGD; the other releases are statistics
STATISTICS_NORM = 1.0  # of one person's part in one


def is_private(project: Project) -> bool:
    return project.privacy.training == PRIVATE


def base_model_statement(run: RunDirectory, project: Project) -> str:
    """What holds for the people whose data trained the base model, for a manifest."""
    entries = read_ledger(run.training_ledger) if is_private(project) else ()
    return private_statement(entries, project.privacy.delta) if entries else CENTRAL_WITHOUT_PRIVACY


def private_statement(entries: Sequence[LedgerEntry], delta: float) -> str:
    """Whom the epsilon of central training covers, and under which adjacency."""
    people = max(entry.people_enrolled for entry in entries)
    return (
        f"trained centrally with differential privacy: epsilon {ledger_epsilon(entries, delta):.3g} at delta {delta:g} "
        f"covers each of the {people} people in its data (add/remove one person), not the choice, order and names of "
        "the items, nor segments"
    )


def train_step(context: StepContext) -> None:
    """Train privately: each release is in the run's ledger before its noise is drawn."""
    from pocketrec.model_settings import BIAS_COLUMNS
    from training.prepared import load_prepared
    from training.private.dp_sgd import DpSgdRecipe
    from training.private.fit import PrivateRecipe
    from training.private.histories import DrawRecipe
    from training.private.train import PrivateTrainSettings, people_of, train_privately
    from training.segments import fit_segments

    project, section = context.project, context.project.privacy
    prepared, seed = load_prepared(context.inputs[PREPARE.name]), project.project.seed
    steps = DpSgdRecipe(sampling_rate=section.sampling_rate, steps=section.steps, clipping_norm=section.clipping_norm)
    settings = PrivateTrainSettings(
        epsilon=section.epsilon,
        delta=section.delta,
        width=project.model.width - BIAS_COLUMNS,
        history_length=project.model.history_length,
        recipe=PrivateRecipe(steps=steps),
        draw=DrawRecipe(people=math.ceil(project.teacher.examples / (DrawRecipe.baskets - 1))),
    )
    budget, people = Budget(epsilon=section.epsilon, delta=section.delta), people_of(prepared)
    with Ledger(context.run.training_ledger) as ledger:

        def charge(name: str, charge: Charge) -> None:
            norm = section.clipping_norm if name == STEPS_RELEASE else STATISTICS_NORM
            ledger.charge(f"train: {name}", charge, clipping_norm=norm, people_enrolled=people, budget=budget)

        train_privately(
            prepared,
            context.folder,
            settings,
            [entry.charge for entry in ledger.entries],
            charge,
            fit_segments(prepared, seed),
            seed,
            context.progress,
        )


def compress_step(context: StepContext) -> None:
    """Distil from drawn histories, and only then look at people, to state figures."""
    from compression.private import distil_drawn, state_quality
    from pocketrec.model_settings import TRAIN_STEP, compress_settings
    from training.prepared import load_prepared
    from training.segments import fit_segments

    seed = context.project.project.seed
    distil_drawn(context.inputs[TRAIN_STEP], context.folder, compress_settings(context.project), seed, context.progress)
    prepared = load_prepared(context.inputs[PREPARE.name])
    state_quality(prepared, fit_segments(prepared, seed), context.folder, context.progress)
