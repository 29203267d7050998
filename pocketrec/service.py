"""The sync server of a run: where its data lie and whom it trusts."""

from pathlib import Path
from typing import Any

import msgspec

from contracts.errors import ConfigError
from contracts.project import Project, Server
from pocketrec.project_file import ProjectFile
from pocketrec.run_directory import RunDirectory
from sync_server.settings import ServerSettings
from sync_server.staff import Member, Role, token_digest
from sync_server.tls import Tls, TlsFiles

DATABASE = "sync.sqlite"
ERASURE_JOURNAL = "erasures.jsonl"
SERVER_KEY, SERVER_KEY_BYTES = "server.key", 32  # what the server's workers share
STAFF_TOKEN, STAFF_TOKEN_BYTES = "staff.token", 32
IDENTIFIER_KEY, IDENTIFIER_KEY_BYTES = "identifier.key", 32  # version 1 of what identifiers are hashed with
IDENTITY_KEY, IDENTITY_KEY_BYTES = "identity.key", 32  # raw Ed25519 private key of the run's own identity provider


def staff_token(run: RunDirectory) -> str:
    """The token of the run's own staff, with every role; a till of the run enrols with it."""
    return run.secret(STAFF_TOKEN, STAFF_TOKEN_BYTES).hex()


def own_identity_key(run: RunDirectory) -> bytes:
    """Raw Ed25519 private key [32 bytes] of the identity provider that simulated phones of this run log in with."""
    return run.secret(IDENTITY_KEY, IDENTITY_KEY_BYTES)


def server_settings(
    run: RunDirectory,
    project: Project,
    folder: Path,
    identity: tuple[str, dict[str, Any] | None] | None = None,
    clock_file: Path | None = None,
    repository: Path | None = None,
    database_url: str | None = None,
    erasure_journal: str | None = None,
) -> ServerSettings:
    """The settings of a server of the run.

    Args:
        run: its repository and secrets.
        folder: where a SQLite database lies; made where missing.
        project: the identity tokens' audience is its name.
        identity: issuer of the shop's OpenID Connect provider, and its JWKS where that is not to be discovered; by
            default the run's own is trusted, whose tokens only the holder of the run's secrets can make.
        clock_file: what the server reads the time from, instead of the machine's clock.
        repository: that it hands out; by default the run's.
        database_url: of another database than SQLite in that folder.
        erasure_journal: another file than the one in that folder.
    """
    folder.mkdir(exist_ok=True)
    issuer, keys = identity or _own_identity(run)
    settings = ServerSettings(
        database_url=database_url or f"sqlite:///{(folder / DATABASE).resolve()}",
        secret_key=run.secret(SERVER_KEY, SERVER_KEY_BYTES),
        staff={"run": Member(token_sha256=token_digest(staff_token(run)), roles=frozenset(Role))},
        identifier_keys={1: run.secret(IDENTIFIER_KEY, IDENTIFIER_KEY_BYTES)},
        identity_issuer=issuer,
        identity_keys=keys,
        identity_audience=project.project.name,
        erasure_journal=erasure_journal or str((folder / ERASURE_JOURNAL).resolve()),
        repository=str((repository or run.repository).resolve()),
        clock_file=str(clock_file.resolve()) if clock_file else None,
    )
    if clock_file is None:
        return settings
    # Where the clock is virtual, weeks pass in minutes: what a device does in a second of the machine is no flood,
    # and what is logged is of nobody's interest.
    return msgspec.structs.replace(settings, phone_rate=None, shop_rate=None, log_requests=False)


def served(
    file: ProjectFile, run: RunDirectory, identity: tuple[str, dict[str, Any] | None] | None = None
) -> ServerSettings:
    """The settings with which a project's `[server]` is served from a run; `identity` as in `server_settings`.

    Raises:
        ConfigError: see `tls_of`.
    """
    section = file.project.server
    settings = server_settings(
        run,
        file.project,
        run.server,
        identity,
        database_url=section.database,
        erasure_journal=section.erasure_journal and str(file.folder / section.erasure_journal),
    )
    return msgspec.structs.replace(settings, tls=tls_of(section, file.folder))


def tls_of(section: Server, folder: Path) -> Tls:
    """What a project's `[server]` says about TLS.

    Args:
        folder: of the project file, which relative paths start from.

    Raises:
        ConfigError: if it names a certificate without its key, or a key without a certificate.
    """
    if section.certificate is None and section.key is None:
        return section.tls
    if section.certificate is None or section.key is None:
        raise ConfigError("[server] names a certificate or a key alone: give both, PEM files")
    return TlsFiles(certificate=str(folder / section.certificate), key=str(folder / section.key))


def _own_identity(run: RunDirectory) -> tuple[str, dict[str, Any]]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from device_sim.identity_provider import ISSUER, jwks_of

    return ISSUER, jwks_of(Ed25519PrivateKey.from_private_bytes(own_identity_key(run)))
