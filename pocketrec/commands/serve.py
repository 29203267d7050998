"""`pocketrec serve`."""

import io
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption

IdentityOption = Annotated[
    Path | None,
    typer.Option(
        "--identity-key",
        metavar="FILE",
        help="Ed25519 public key (PEM) of the identity provider  [default: the run's own, for trying out]",
    ),
]
HostOption = Annotated[
    str | None, typer.Option("--host", metavar="ADDRESS", help="address to listen on  [default: of the project]")
]
PortOption = Annotated[
    int | None, typer.Option("--port", metavar="PORT", help="port, 0 for any free one  [default: of the project]")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", metavar="COUNT", help="processes  [default: of the project]")
]


def serve(
    identity_key: IdentityOption = None,
    host: HostOption = None,
    port: PortOption = None,
    workers: WorkersOption = None,
    project: ProjectOption = PROJECT_FILE,
    run: RunOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve phones and tills until interrupted: events, profiles, rounds, and the published bundles.

    \b
    Example:
        pocketrec serve --run runs/shop --port 8080
    """
    from contextlib import nullcontext, redirect_stdout

    from msgspec import structs

    from export.keys import load_public_key
    from pocketrec.project_file import read_project
    from pocketrec.run_directory import open_run
    from pocketrec.service import server_settings, tls_of
    from sync_server.serve import serve as serve_sync
    from sync_server.sql_store import without_password

    file = read_project(project)
    trusted = load_public_key(identity_key) if identity_key else None
    with open_run(run or file.default_run) as directory:
        section = file.project.server
        settings = server_settings(
            directory,
            file.project,
            directory.server,
            trusted,
            database_url=section.database,
            erasure_journal=section.erasure_journal,
        )
        settings = structs.replace(settings, tls=tls_of(section, file.folder))
    with redirect_stdout(_Announcement(without_password(settings.database_url))) if as_json else nullcontext():
        serve_sync(settings, host or section.host, section.port if port is None else port, workers or section.workers)


class _Announcement(io.TextIOBase):
    """Turns the line with which the server says its address into one JSON object."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._stdout = sys.stdout

    def write(self, text: str) -> int:
        import msgspec

        url = text.strip().rpartition(" ")[2]
        if url:
            said = {"url": url, "database": self._database_url}
            if certificate := re.search(r"sha256:(\w+)", text):
                said["certificate_sha256"] = certificate[1]
            print(msgspec.json.encode(said).decode(), file=self._stdout, flush=True)
        return len(text)
