"""Run the service under granian."""

import asyncio
import gc
import logging.config
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import uvloop
from granian.constants import Interfaces
from granian.log import LogLevels
from sqlalchemy.engine import make_url

from contracts.errors import ConfigError
from sync_server import attestation
from sync_server.logs import LOGGING
from sync_server.recovery import ready_store
from sync_server.settings import ServerSettings
from sync_server.tls import TlsFiles, files_for, fingerprint

if TYPE_CHECKING:
    from litestar.types import ASGIApp

GRACE_S = 30  # what was taken is finished before a worker is ended by force
POLL_S = 0.01
GC_OBJECTS = 50_000  # more than before, after which the garbage collector looks at the new ones: some 10 MB
READY = ".ready"  # in the workers' shared folder, after the process id of one that has started
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it when it is imported: hence the late imports


def serve(settings: ServerSettings, host: str = "127.0.0.1", port: int = 8080, workers: int = 1) -> None:
    """Serve until SIGTERM or SIGINT, finishing what was taken.

    Prints one line, `pocketrec sync server on http://HOST:PORT`, as soon as requests are taken; with TLS the line also
    tells the certificate's fingerprint.

    Args:
        port: 0 for any that is free.
        workers: processes. One runs inside this process, so that it ends whenever this process does.

    Raises:
        ConfigError: if the address cannot be bound, workers is below 1, or the settings name something that is not
            there.
    """
    if workers < 1:
        raise ConfigError(f"workers is {workers}: use 1 or more")
    _try(settings)
    files = files_for(settings.tls, host, _tls_folder(settings))
    port = _bindable(host, port)
    options = _options(host, port, files)
    with TemporaryDirectory(prefix="pocketrec-metrics-") as folder:
        os.environ[METRICS_FOLDER] = folder
        logging.config.dictConfig(LOGGING)
        announce = partial(_announce, host, port, files, Path(folder), workers)
        if workers == 1:
            uvloop.run(_serve_here(settings, options, announce))  # as granian runs its own processes
        else:
            _serve_processes(settings, options, announce, workers)


def _try(settings: ServerSettings) -> None:
    """What a worker would fail over is said here, once, and an older schema is brought up to date."""
    if settings.attestation:
        attestation.load(settings.attestation)
    with ready_store(settings):
        pass


def service(settings: ServerSettings) -> "ASGIApp":
    """What a worker runs: the application with all that is around it."""
    from granian.utils.proxies import wrap_asgi_with_proxy_headers

    from sync_server.app import create_app
    from sync_server.observed import observed

    logging.config.dictConfig(LOGGING)
    app = create_app(settings)
    app.on_startup.append(_say_ready)
    watched = observed(app, settings.log_requests)
    return (
        wrap_asgi_with_proxy_headers(watched, list(settings.trusted_proxies)) if settings.trusted_proxies else watched
    )


async def _serve_here(settings: ServerSettings, options: dict[str, Any], announce: Callable[[], None]) -> None:
    from granian.server.embed import Server

    server = Server(service(settings), **options)
    server.on_startup(announce)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.serve()


def _serve_processes(
    settings: ServerSettings, options: dict[str, Any], announce: Callable[[], None], workers: int
) -> None:
    from granian import Granian

    server = Granian("sync_server.serve", workers=workers, workers_kill_timeout=GRACE_S, **options)
    server.on_startup(announce)
    server.serve(target_loader=partial(service, settings), wrap_loader=False)


def _options(host: str, port: int, files: TlsFiles | None) -> dict[str, Any]:
    return {
        "address": host,
        "port": port,
        "interface": Interfaces.ASGI,
        "websockets": False,
        "log_dictconfig": LOGGING,
        "log_level": LogLevels.error,
        "ssl_cert": Path(files.certificate) if files else None,
        "ssl_key": Path(files.key) if files else None,
    }


def _tls_folder(settings: ServerSettings) -> Path:
    if settings.tls_folder is not None:
        return Path(settings.tls_folder)
    url = make_url(settings.database_url)
    beside = url.database if url.get_backend_name() == "sqlite" else None
    return Path(beside or settings.repository).resolve().parent


def _say_ready() -> None:
    """A worker's store is open: see `_announce`."""
    # What is there by now stays; a sync makes thousands of objects and leaves no cycles behind. Looking for some after
    # each 700 of them took a fifth of a batch's time.
    gc.freeze()
    gc.set_threshold(GC_OBJECTS)
    Path(os.environ[METRICS_FOLDER], f"{os.getpid()}{READY}").touch()


def _announce(host: str, port: int, files: TlsFiles | None, folder: Path, workers: int) -> None:
    """Print the address once connections are taken; granian has no hook for that, so try until one is.

    All workers have started by then: one that is asked to end while it starts, granian waits for in vain, and ends it
    by force only after GRACE_S.
    """
    certificate = f" with certificate sha256:{fingerprint(Path(files.certificate))}" if files else ""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)

    def wait_and_print() -> None:
        while len(list(folder.glob(f"*{READY}"))) < workers:
            time.sleep(POLL_S)
        while True:
            with suppress(OSError), socket.create_connection((reached, port)):
                break
            time.sleep(POLL_S)
        print(f"pocketrec sync server{certificate} on {'https' if files else 'http'}://{host}:{port}", flush=True)

    threading.Thread(target=wait_and_print, daemon=True).start()


def _bindable(host: str, port: int) -> int:
    """The port, or a free one for 0; the check gives a clear error before granian starts."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(f"{host}:{port} cannot be bound ({error.strerror}): choose another port") from None
        return int(probe.getsockname()[1])
