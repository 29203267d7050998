"""Flower's processes on loopback: one SuperLink, a SuperNode per gateway, each tethered to this process.

The app that Flower distributes is a `pyproject.toml` alone: it names the ServerApp and the ClientApp of this package,
which every process has installed. Nothing is installed at run time and nothing reports home.
"""

import json
import os
import socket
import ssl
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from contracts.errors import CheckFailed
from federated.certificates import HOST, write_certificate, write_node_key
from federated.tether import stop_group

POLL_SECONDS = 0.1
COMMAND_SECONDS = 60.0  # for one call of Flower's command line
_APP = """\
[project]
name = "rounds"
version = "1.0.0"
description = "Private rounds"
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "pocketrec"
[tool.flwr.app.components]
serverapp = "federated.server_app:app"
clientapp = "federated.client_app:app"
[tool.flwr.app.config]
settings = ""
nodes = ""
outcome = ""
"""


def toml_table(values: Mapping[str, str]) -> str:
    """Strings as TOML, for which JSON's strings are valid."""
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())


class NoAnswer(CheckFailed):
    """Flower's command line did not answer in time."""


class FlowerProcesses:
    """A SuperLink and its SuperNodes for as long as the block runs.

    Args:
        folder: private to this run, for keys and Flower's own files.
        logs: folder of the processes' logs.
        gateways: number of SuperNodes.
        node_config: of every SuperNode.
        startup_seconds: for the SuperLink to answer.

    Raises:
        CheckFailed: if a process does not start; the message names its log.
    """

    def __init__(
        self, folder: Path, logs: Path, gateways: int, node_config: Mapping[str, str], startup_seconds: float
    ) -> None:
        self._folder = folder
        self._logs = logs
        self._gateways = gateways
        self._node_config = node_config
        self._startup_seconds = startup_seconds
        self._scripts = Path(sysconfig.get_path("scripts"))
        self._certificate = folder / "certificate.pem"
        self._key = folder / "key.pem"
        self._port = _free_port()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._files: list[IO[bytes]] = []
        self.node_ids: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def start_run(self, run_config: Mapping[str, str]) -> str:
        """Start the ServerApp; the run's id."""
        app = self._folder / "app"
        app.mkdir()
        (app / "pyproject.toml").write_text(_APP, encoding="utf-8")
        overrides = self._folder / "run.toml"
        overrides.write_text(toml_table(run_config), encoding="utf-8")
        answer = self._flwr("run", str(app), "loopback", "--run-config", str(overrides))
        return str(answer["run-id"])

    def run_ended(self, run_id: str) -> str | None:
        """Flower's own word on how the run ended, or None while it goes on or a busy machine gives no answer."""
        try:
            answer = self._flwr("list", "--run-id", run_id, "loopback")
        except NoAnswer:
            return None
        for run in answer.get("runs", ()):
            if str(run["status"]).startswith("finished"):
                return f"{run['status']} ({run['status-details']})"
        return None

    def check_alive(self) -> None:
        """Raises CheckFailed if the SuperLink ended. A gateway that ended is a missing gateway, no failure."""
        self._check("superlink")

    def _start(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        write_certificate(self._certificate, self._key)
        home = self._folder / "flwr"
        home.mkdir()
        connection = {"address": f"{HOST}:{self._port}", "root-certificates": str(self._certificate)}
        (home / "config.toml").write_text(
            '[superlink]\ndefault = "loopback"\n[superlink.loopback]\n' + toml_table(connection), encoding="utf-8"
        )
        tls = ("--ssl-certfile", self._certificate, "--ssl-keyfile", self._key, "--ssl-ca-certfile", self._certificate)
        address = ("--host", HOST, "--port", self._port)
        self._spawn(
            "superlink",
            "flower-superlink",
            *(*address, *tls, "--enable-supernode-auth", "--disable-runtime-dependency-installation"),
        )
        self._await_superlink()
        node_config = self._folder / "node.toml"
        node_config.write_text(toml_table(self._node_config), encoding="utf-8")
        for number in range(self._gateways):
            key = self._folder / f"gateway-{number}"
            public = write_node_key(key)
            answer = self._flwr("supernode", "register", str(public), "loopback")
            self.node_ids += (int(answer["node-id"]),)
            self._spawn(
                f"gateway-{number}",
                "flower-supernode",
                *("--superlink", f"{HOST}:{self._port}", "--root-certificates", self._certificate),
                *("--auth-supernode-private-key", key, "--host", HOST, "--port", _free_port(), *tls),
                *("--node-config", node_config),
            )

    def _spawn(self, name: str, script: str, *arguments: object) -> None:
        log = (self._logs / f"{name}.log").open("wb")
        self._files.append(log)
        command = (sys.executable, "-m", "federated.tether", self._scripts / script, *arguments)
        self._processes[name] = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=self._environment(),
            start_new_session=True,
        )

    def _stop(self) -> None:
        """Gateways before the SuperLink, so that nobody calls a server that has gone."""
        superlink = [process for name, process in self._processes.items() if name == "superlink"]
        gateways = [process for name, process in self._processes.items() if name != "superlink"]
        for group in (gateways, superlink):
            for process in group:
                process.terminate()
            for process in group:
                stop_group(process)
        for file in self._files:
            file.close()

    def _await_superlink(self) -> None:
        context = ssl.create_default_context(cafile=str(self._certificate))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        give_up = time.monotonic() + self._startup_seconds
        while time.monotonic() < give_up:
            self._check("superlink")
            try:
                opener.open(f"https://{HOST}:{self._port}/health", timeout=self._startup_seconds).close()
            except (urllib.error.URLError, ConnectionError):
                time.sleep(POLL_SECONDS)
            else:
                return
        raise CheckFailed(
            f"the SuperLink did not answer within {self._startup_seconds:g} s: see {self._logs / 'superlink.log'}, "
            "or allow more startup_seconds"
        )

    def _check(self, name: str) -> None:
        code = self._processes[name].poll()
        if code is not None:
            raise CheckFailed(f"{name} ended with code {code}: see {self._logs / f'{name}.log'}")

    def _flwr(self, *arguments: str) -> dict:
        """One call of Flower's command line, answered in JSON."""
        try:
            done = subprocess.run(
                [str(self._scripts / "flwr"), *arguments, "--format", "json"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=self._environment(),
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NoAnswer(
                f"flwr {' '.join(arguments[:2])} gave no answer in {COMMAND_SECONDS:g} s: is the machine overloaded?"
            ) from None
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = {}
        if done.returncode or not answer.get("success"):
            said = (done.stdout + done.stderr).decode(errors="replace").split()
            raise CheckFailed(f"flwr {' '.join(arguments[:2])} failed: {' '.join(said)[-500:]}")
        return answer

    def _environment(self) -> dict[str, str]:
        """This process's, with Flower's files kept in the folder, its reports home off, and no proxy on loopback."""
        inherited = dict(os.environ)
        bypass = ",".join(filter(None, (inherited.get("no_proxy") or inherited.get("NO_PROXY"), HOST)))
        return inherited | {
            "FLWR_HOME": str(self._folder / "flwr"),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "PATH": f"{self._scripts}{os.pathsep}{inherited.get('PATH', '')}",  # the SuperLink starts helpers by name
            "PYTHONUNBUFFERED": "1",
            "no_proxy": bypass,
            "NO_PROXY": bypass,
        }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
