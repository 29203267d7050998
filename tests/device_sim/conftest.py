"""The real sync server in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from device_sim.clock import FleetTime
from device_sim.identity_provider import ISSUER, IdentityProvider
from sync_server.staff import token_digest

STAFF_TOKEN = "the staff's token of the tests"
AUDIENCE = "pocketrec-tests"
START_MS = 1_490_000_000_000  # in March 2017, and 20 s past a minute


class Server:
    """A sync server in a process of its own, with the time that it reads and the identity provider that it trusts."""

    def __init__(self, directory: Path, **limits: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._limits = limits
        self.repository = directory / "repository"
        self.database = directory / "sync.sqlite"
        self.time = FleetTime(START_MS, directory / "clock")
        self.identity_provider = IdentityProvider(AUDIENCE, self.time.now_ms)
        self.start()

    def start(self) -> None:
        settings = {
            "database_url": f"sqlite:///{self.database}",
            "secret_key": bytes(32),
            "staff": {"tests": {"token_sha256": token_digest(STAFF_TOKEN), "roles": ["ingest"]}},
            "identifier_keys": {1: bytes(range(32))},
            "identity_issuer": ISSUER,
            "identity_keys": self.identity_provider.jwks,
            "identity_audience": AUDIENCE,
            "erasure_journal": str(self.directory / "erasures"),
            "repository": str(self.repository),
            "clock_file": str(self.directory / "clock"),
            "phone_rate": None,
            "shop_rate": None,
            "log_requests": False,
            **self._limits,
        }
        (self.directory / "settings.json").write_bytes(msgspec.json.encode(settings))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sync_server", "--settings", str(self.directory / "settings.json")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split()[-1]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def http(self, transport: httpx.BaseTransport | None = None) -> httpx.Client:
        return httpx.Client(base_url=self.url, transport=transport, timeout=30)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server that tests share: each with devices and owners of its own, and without bundles."""
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


@pytest.fixture
def own_server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A running server for one test; parametrized indirectly with a dict, one of other limits."""
    running = Server(tmp_path / "server", **getattr(request, "param", {}))
    yield running
    running.stop()
