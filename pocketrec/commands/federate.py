"""`pocketrec federate`."""

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption


def federate(project: ProjectOption = PROJECT_FILE, run: RunOption = None, as_json: JsonOption = False) -> None:
    """Play private federated rounds with the simulated phones that consented, and ask the gate what to publish.

    \b
    Example:
        pocketrec federate --run runs/shop
    """
    from pocketrec.federation import FEDERATE, load_federation
    from pocketrec.output import emit
    from pocketrec.pipeline import run_verb
    from pocketrec.report_json import federated_of

    finished = run_verb(FEDERATE.name, project, run)
    result = load_federation(finished.folder)
    emit(
        finished.summary | {"federated": federated_of(result), "gate": result.gate.reason, "coverage": result.coverage},
        as_json,
    )
