"""Run the service under granian."""

import asyncio
import signal
import socket
import threading
import time
from functools import partial
from typing import Any

from granian.constants import Interfaces
from granian.log import LogLevels

from contracts.errors import ConfigError
from sync_server.app import create_app
from sync_server.settings import ServerSettings

GRACE_S = 30  # what was taken is finished before a worker is ended by force
POLL_S = 0.01
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"errors": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"}},
    "loggers": {"_granian": {"handlers": ["errors"], "propagate": False}},
    "root": {"handlers": ["errors"], "level": "WARNING"},
}


def serve(settings: ServerSettings, host: str = "127.0.0.1", port: int = 8080, workers: int = 1) -> None:
    """Serve until SIGTERM or SIGINT, finishing what was taken.

    Prints one line, `pocketrec sync server on http://HOST:PORT`, as soon as requests are taken.

    Args:
        port: 0 for any that is free.
        workers: processes. One runs inside this process, so that it ends whenever this process does.

    Raises:
        ConfigError: if the address cannot be bound or workers is below 1.
    """
    if workers < 1:
        raise ConfigError(f"workers is {workers}: use 1 or more")
    port = _bindable(host, port)
    if workers == 1:
        asyncio.run(_serve_here(settings, host, port))
    else:
        _serve_processes(settings, host, port, workers)


async def _serve_here(settings: ServerSettings, host: str, port: int) -> None:
    from granian.server.embed import Server

    server = Server(create_app(settings), **_options(host, port))
    server.on_startup(partial(_announce, host, port))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.serve()


def _serve_processes(settings: ServerSettings, host: str, port: int, workers: int) -> None:
    from granian import Granian

    server = Granian("sync_server.app", workers=workers, workers_kill_timeout=GRACE_S, **_options(host, port))
    server.on_startup(partial(_announce, host, port))
    server.serve(target_loader=partial(create_app, settings), wrap_loader=False)


def _options(host: str, port: int) -> dict[str, Any]:
    return {
        "address": host,
        "port": port,
        "interface": Interfaces.ASGI,
        "websockets": False,
        "log_dictconfig": LOGGING,
        "log_level": LogLevels.error,
    }


def _announce(host: str, port: int) -> None:
    """Print the address once connections are taken; granian has no hook for that, so try until one is."""

    def wait_and_print() -> None:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((host, port)) == 0:
                    break
            time.sleep(POLL_S)
        print(f"pocketrec sync server on http://{host}:{port}", flush=True)

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
