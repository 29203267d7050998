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
    from pocketrec.preparation import PREPARE
    from pocketrec.progress import Progress
    from pocketrec.project_file import read_project
    from pocketrec.run_directory import open_run
    from pocketrec.simulation import SIMULATE, load_simulation
    from pocketrec.steps import run_steps

    file = read_project(project)
    with open_run(run or file.default_run) as directory:
        outcome = run_steps([PREPARE, SIMULATE], directory, file, Progress())[SIMULATE.name]
        folder = directory.folder(SIMULATE.name)
        result = load_simulation(folder)
    report, count = result.report, result.count
    if count.lost or count.double_counted:
        raise CheckFailed(f"{count.lost} events were lost and {count.double_counted} counted twice: see {folder}")
    emit(
        {
            "folder": str(folder),
            "reused": outcome.reused,
            "seconds": outcome.record.seconds,
            "fleet": {
                "phones": report.phones,
                "events_created": count.created,
                "events_on_server": count.held,
                "resent": report.resent,
                "lost": count.lost,
                "double_counted": count.double_counted,
                "profiles": result.profiles,
                "merged_profiles": result.merged_profiles,
                "recommendations": report.recommendations,
                "recommendations_offline": report.recommendations_offline,
            },
        },
        as_json,
    )
