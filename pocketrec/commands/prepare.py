"""`pocketrec prepare`."""

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption


def prepare(project: ProjectOption = PROJECT_FILE, run: RunOption = None, as_json: JsonOption = False) -> None:
    """Read, clean, pseudonymise and split the event log, and find the segments of its people.

    \b
    Example:
        pocketrec prepare --project shop/pocketrec.toml --run runs/shop
    """
    from pocketrec.output import emit
    from pocketrec.preparation import PREPARE
    from pocketrec.progress import Progress
    from pocketrec.project_file import read_project
    from pocketrec.run_directory import open_run
    from pocketrec.steps import run_steps
    from training.prepared import load_record, load_segments

    file = read_project(project)
    with open_run(run or file.default_run) as directory:
        outcome = run_steps([PREPARE], directory, file, Progress())[PREPARE.name]
        folder = directory.folder(PREPARE.name)
        record, segments = load_record(folder), load_segments(folder)
    counts = record.counts
    emit(
        {
            "folder": str(folder),
            "reused": outcome.reused,
            "seconds": outcome.record.seconds,
            "peak_memory_bytes": outcome.record.peak_memory_bytes,
            "data": {
                "users": counts.users,
                "phones": counts.phones,
                "items": counts.items,
                "events": counts.events,
                "baskets": counts.baskets,
                "dropped": counts.dropped,
                "joined_lines": counts.joined_lines,
                "measured_lines": counts.measured_lines,
            },
            "segments": dict(zip(segments.names, segments.people, strict=True)) if segments else {},
        },
        as_json,
    )
