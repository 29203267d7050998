"""`pocketrec simulate`."""

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption


def simulate(project: ProjectOption = PROJECT_FILE, run: RunOption = None, as_json: JsonOption = False) -> None:
    """Let simulated phones replay real people against a real sync server under faults, and count what was lost.

    \b
    Example:
        pocketrec simulate --run runs/shop
    """
    from contracts.errors import CheckFailed
    from pocketrec.output import emit
    from pocketrec.pipeline import run_verb
    from pocketrec.report_json import fleet_of
    from pocketrec.simulation import SIMULATE, load_simulation

    finished = run_verb(SIMULATE.name, project, run)
    folder = finished.folder
    result = load_simulation(folder)
    report, count = result.report, result.count
    if count.lost or count.double_counted:
        raise CheckFailed(f"{count.lost} events were lost and {count.double_counted} counted twice: see {folder}")
    emit(
        {
            **finished.summary,
            "fleet": {
                **fleet_of(result),
                "recommendations": report.recommendations,
                "recommendations_offline": report.recommendations_offline,
            },
        },
        as_json,
    )
