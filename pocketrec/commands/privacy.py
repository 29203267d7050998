"""`pocketrec privacy`."""

from pathlib import Path
from typing import Annotated

import typer

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption

LedgerOption = Annotated[
    Path | None, typer.Option("--ledger", metavar="FILE", help="the privacy ledger  [default: the run's]")
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
    """State the epsilon that a ledger has charged, cross-checked by a second accountant, and whom it covers.

    \b
    Example:
        pocketrec privacy --run runs/shop --delta 1e-6
    """
    from contracts.errors import CheckFailed, RunError
    from federated.coverage import privacy_statement
    from federated.ledger import ledger_epsilon, read_ledger
    from pocketrec.output import emit
    from pocketrec.project_file import read_project, run_of
    from pocketrec.run_directory import look_into_run
    from training.privacy_crosscheck import prv_epsilon

    if delta is None:
        delta = read_project(project).project.federated.delta
    path = ledger or look_into_run(run_of(run, project)).ledger
    if not path.is_file():
        raise RunError(f"{path} does not exist: no round has been charged here; name the ledger with --ledger")
    entries = read_ledger(path)
    pld = ledger_epsilon(entries, delta)
    prv = max(prv_epsilon((entry.charge for entry in entries), delta), 0.0)  # near 0 its error may take it below
    if abs(pld - prv) > max(RELATIVE_AGREEMENT * max(pld, prv), ABSOLUTE_AGREEMENT):
        raise CheckFailed(f"accountants disagree, PLD: {pld:.4f}, PRV: {prv:.4f}: publish neither before why is known")
    statement = privacy_statement(entries, delta)
    emit(
        {
            "ledger": str(path),
            "charges": len(entries),
            "epsilon": pld,
            "epsilon_prv": prv,
            "delta": delta,
            "people_enrolled": max((entry.people_enrolled for entry in entries), default=0),
            "base_model": statement.base_model,
            "statistics": statement.statistics,
        },
        as_json,
    )
