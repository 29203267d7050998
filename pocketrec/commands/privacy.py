"""`pocketrec privacy`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federated.ledger import LedgerEntry

LedgerOption = Annotated[
    Path | None, typer.Option("--ledger", metavar="FILE", help="one privacy ledger  [default: both of the run]")
]
DeltaOption = Annotated[
    float | None, typer.Option("--delta", metavar="DELTA", help="at which epsilon is stated  [default: of the project]")
]
RELATIVE_AGREEMENT = 0.02  # of two accountants whose figures may be published
ABSOLUTE_AGREEMENT = 0.02  # the PRV accountant's own error is 0.01


def privacy(
    ledger: LedgerOption = None,
    delta: DeltaOption = None,
    project: ProjectOption = PROJECT_FILE,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """State the epsilon that rounds and private training were charged, cross-checked by a second accountant.

    \b
    Example:
        pocketrec privacy --run runs/shop --delta 1e-6
    """
    from contracts.errors import RunError
    from federated.coverage import CENTRAL_WITHOUT_PRIVACY, privacy_statement
    from federated.ledger import read_ledger
    from pocketrec.output import emit
    from pocketrec.private_steps import base_model_statement, private_statement
    from pocketrec.project_file import read_project, run_of
    from pocketrec.run_directory import look_into_run

    base_model, training = CENTRAL_WITHOUT_PRIVACY, None
    if ledger is None:
        directory, settings = look_into_run(run_of(run, project)), read_project(project).project
        ledger, base_model = directory.ledger, base_model_statement(directory, settings)
        charged = read_ledger(directory.training_ledger)
        if charged:
            at = settings.privacy.delta if delta is None else delta
            training = {
                "ledger": str(directory.training_ledger),
                **_spent(charged, at),
                "covers": private_statement(charged, at),
            }
    if not ledger.is_file() and training is None:
        raise RunError(f"{ledger} does not exist: no round has been charged here; name the ledger with --ledger")
    at = read_project(project).project.federated.delta if delta is None else delta
    entries = read_ledger(ledger)
    statement = privacy_statement(entries, at, base_model)
    emit(
        {
            "ledger": str(ledger),
            **_spent(entries, at),
            "base_model": statement.base_model,
            "statistics": statement.statistics,
            "training": training,
        },
        as_json,
    )


def _spent(entries: "Sequence[LedgerEntry]", delta: float) -> dict[str, object]:
    """What a ledger charged, where two accountants agree on it."""
    from contracts.errors import CheckFailed
    from federated.ledger import ledger_epsilon
    from training.privacy_crosscheck import prv_epsilon

    pld = ledger_epsilon(entries, delta)
    prv = max(prv_epsilon((entry.charge for entry in entries), delta), 0.0)  # near 0 its error may take it below
    if abs(pld - prv) > max(RELATIVE_AGREEMENT * max(pld, prv), ABSOLUTE_AGREEMENT):
        raise CheckFailed(f"accountants disagree, PLD: {pld:.4f}, PRV: {prv:.4f}: publish neither before why is known")
    return {
        "charges": len(entries),
        "epsilon": pld,
        "epsilon_prv": prv,
        "delta": delta,
        "people_enrolled": max((entry.people_enrolled for entry in entries), default=0),
    }
