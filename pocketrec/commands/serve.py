"""`pocketrec serve`."""

import io
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pocketrec.options import PROJECT_FILE, JsonOption, ProjectOption, RunOption

IssuerOption = Annotated[
    str | None,
    typer.Option(
        "--identity-issuer",
        metavar="URL",
        help="issuer of the shop's OpenID Connect provider  [default: the run's own, for trying out]",
    ),
]
KeysOption = Annotated[
    Path | None,
    typer.Option(
        "--identity-keys", metavar="FILE", help="the issuer's keys (JWKS), where they are not to be discovered"
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
    identity_issuer: IssuerOption = None,
    identity_keys: KeysOption = None,
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

    from pocketrec.project_file import read_project
    from pocketrec.run_directory import open_run
    from pocketrec.service import served
    from sync_server.serve import serve as serve_sync
    from sync_server.sql_store import without_password

    file = read_project(project)
    trusted = _trusted(identity_issuer, identity_keys)
    with open_run(run or file.default_run) as directory:
        settings = served(file, directory, trusted)
    section = file.project.server
    with redirect_stdout(_Announcement(without_password(settings.database_url))) if as_json else nullcontext():
        serve_sync(settings, host or section.host, section.port if port is None else port, workers or section.workers)


def _trusted(issuer: str | None, keys: Path | None) -> tuple[str, dict[str, Any] | None] | None:
    """The identity provider that the options name, None for the run's own."""
    import msgspec

    from contracts.errors import ConfigError

    if keys is None:
        return None if issuer is None else (issuer, None)
    if issuer is None:
        raise ConfigError("--identity-keys is given without --identity-issuer: give both, or neither")
    try:
        return issuer, msgspec.json.decode(keys.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        raise ConfigError(f"{keys} holds no JWKS: give a JSON object with the issuer's keys") from None


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
