"""`pocketrec replay`."""

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption


def replay(project: ProjectOption = PROJECT_FILE, run: RunOption = None, as_json: JsonOption = False) -> None:
    """Judge again the events of newer apps that the server had to set aside, once it was updated.

    \b
    Example:
        pocketrec replay --run runs/shop
    """
    from pocketrec.output import emit
    from pocketrec.project_file import read_project
    from pocketrec.run_directory import look_into_run
    from pocketrec.service import served
    from sync_server.replay import replay_held

    file = read_project(project)
    done = replay_held(served(file, look_into_run(run or file.default_run)))
    emit({"accepted": done.accepted, "held": done.held}, as_json)
