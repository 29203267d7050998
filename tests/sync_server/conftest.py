"""A small world around a store: a clock that is set, an identity provider, and devices that speak the contracts."""

import base64
import hashlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import event

import device_sim.identity_provider
from contracts import codec
from contracts.consent import ConsentFact, Purpose
from contracts.events import Event, EventType, Money
from contracts.identity import DeviceRole
from contracts.rounds import RoundReceipt, RoundUpdate
from contracts.summary import Summary
from contracts.sync import (
    CHALLENGE_HEADER,
    EnrolRequest,
    EnrolResponse,
    Heard,
    ProfileDelta,
    SyncRequest,
    SyncResponse,
    signed_bytes,
)
from contracts.windows import HourCounts
from device_sim.identity_provider import CLAIMS, ISSUER
from sync_server import rounds
from sync_server.clock import MILLISECONDS
from sync_server.enrolment import enrolling
from sync_server.settings import ServerSettings
from sync_server.sql_store import SqlStore, open_store
from sync_server.staff import Member, Role, token_digest
from sync_server.sync import sync

AUDIENCE = "shop"
ADDRESS = "192.0.2.1"  # of every device in this process
STAFF_TOKEN = "a-staff-token-of-the-tests"  # with every role
STAFF = [("everything", STAFF_TOKEN, frozenset(Role))]
STAFF += [(f"only-{role}", f"a-token-for-{role}-alone", frozenset({role})) for role in Role]
START_MS = 1_700_000_000_000 - 1_700_000_000_000 % 3_600_000  # on the hour


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.time_ms = now_ms

    def now_ms(self) -> int:
        return self.time_ms


class FileSetClock(SetClock):
    """The same for a server in another process, through the file that its `FileClock` reads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__()

    @property
    def time_ms(self) -> int:
        return int(MILLISECONDS.unpack(self._path.read_bytes())[0])

    @time_ms.setter
    def time_ms(self, now_ms: int) -> None:
        temporary = self._path.with_suffix(".new")
        temporary.write_bytes(MILLISECONDS.pack(now_ms))
        temporary.replace(self._path)


class IdentityProvider:
    """Signs tokens as the shop's identity provider does."""

    def __init__(self) -> None:
        self._provider = device_sim.identity_provider.IdentityProvider(AUDIENCE, lambda: START_MS)
        self.jwks = self._provider.jwks

    def token(self, sub: str, *also: str, exp_ms: int = START_MS + 10**11, **claims: Any) -> str:
        return self._provider.token(sub, also, **({"exp": exp_ms // 1000} | claims))


class LocalWire:
    """Hands messages to the server's code, in this process."""

    def __init__(self, store: SqlStore, settings: ServerSettings) -> None:
        self._store, self._settings = store, settings

    def enrol(self, request: EnrolRequest) -> EnrolResponse:
        return enrolling(self._store, self._settings)(request, ADDRESS)

    def sync(self, device_id: str, request: SyncRequest, format: str) -> SyncResponse:
        return sync(self._store, self._settings, device_id, request, format)

    def submit(self, device_id: str, update: RoundUpdate) -> RoundReceipt:
        return rounds.submit(self._store, update)


class Device:
    """A phone or a till. It numbers its events; the test decides which of them travel when, and how often."""

    def __init__(self, world: "World", role: DeviceRole, key: Ed25519PrivateKey | None = None) -> None:
        self.world = world
        self.key = key or Ed25519PrivateKey.generate()
        staff_token = STAFF_TOKEN if role is DeviceRole.TILL else None
        public_key = self.key.public_key().public_bytes_raw()
        enrolled = world.wire.enrol(EnrolRequest(public_key=public_key, role=role, staff_token=staff_token))
        self.device_id, self.epoch, self.generation = enrolled.device_id, enrolled.epoch, enrolled.generation
        self.owner = f"anonymous:session of {self.device_id}"
        self.booted_ms = world.clock.now_ms() - 3_600_000
        self.heard: Heard | None = None
        self.seq = 0

    @property
    def uptime_ms(self) -> int:
        return self.world.clock.now_ms() - self.booted_ms

    def event(self, item: str | None = "milk", type: EventType = EventType.PURCHASE, **fields: Any) -> Event:
        """Something that happens now."""
        defaults: dict[str, Any] = {
            "device_id": self.device_id,
            "epoch": self.epoch,
            "seq": self.seq,
            "type": type,
            "owner": self.owner,
            "occurred_at": self.world.clock.now_ms(),
            "boot_id": "boot",
            "uptime_ms": self.uptime_ms,
            "item_id": item,
            "price": Money(199, "EUR"),
        }
        self.seq += 1
        return Event(**(defaults | fields))

    def request(self, *events: Event | msgspec.Raw, format: str = "application/json", **fields: Any) -> SyncRequest:
        defaults: dict[str, Any] = {
            "device_id": self.device_id,
            "epoch": self.epoch,
            "generation": self.generation,
            "sent_at": self.world.clock.now_ms(),
            "boot_id": "boot",
            "uptime_ms": self.uptime_ms,
            "heard": self.heard,
            "events": tuple(
                one if isinstance(one, msgspec.Raw) else msgspec.Raw(codec.encode(one, format)) for one in events
            ),
        }
        return SyncRequest(**(defaults | fields))

    def sync(self, *events: Event | msgspec.Raw, format: str = "application/json", **fields: Any) -> SyncResponse:
        request = self.request(*events, format=format, **fields)
        answer = self.world.wire.sync(self.device_id, request, format)
        self.heard = Heard(server_time=answer.server_time, boot_id="boot", uptime_ms=self.uptime_ms)
        return answer

    def log_in(self, login: str, *also: str, purposes: tuple[Purpose, ...] = tuple(Purpose)) -> SyncResponse:
        """Use the device as this login from now on, proven, and allow purposes."""
        self.owner = login
        consents = tuple(self.fact(purpose) for purpose in purposes)
        return self.sync(owner=login, identity_tokens=(self.world.provider.token(login, *also),), consents=consents)

    def fact(self, purpose: Purpose, granted: bool = True, cites: int = 0, **fields: Any) -> ConsentFact:
        defaults: dict[str, Any] = {
            "fact_id": hashlib.sha256(f"{self.owner}/{purpose}/{granted}/{cites}".encode()).hexdigest(),
            "owner": self.owner,
        }
        return ConsentFact(**(defaults | {"purpose": purpose, "granted": granted, "cites": cites} | fields))


class World:
    """A server's wire, its clock and whom it trusts."""

    def __init__(self, wire: Any, clock: SetClock, provider: IdentityProvider, settings: ServerSettings) -> None:
        self.wire, self.clock, self.provider, self.settings = wire, clock, provider, settings

    def phone(self) -> Device:
        return Device(self, DeviceRole.PHONE)

    def till(self) -> Device:
        return Device(self, DeviceRole.TILL)

    def pass_hours(self, hours: float) -> None:
        self.clock.time_ms += int(hours * 3_600_000)


class LocalWorld(World):
    """A world around a store in this process."""

    def __init__(self, store: SqlStore, clock: SetClock, provider: IdentityProvider, settings: ServerSettings) -> None:
        super().__init__(LocalWire(store, settings), clock, provider, settings)
        self.store = store

    def open_again(self) -> None:
        """Go on with whatever stands at the store's address by now."""
        self.store.close()
        self.store = open_store(self.settings.database_url, self.clock, self.settings.keys)
        self.wire = LocalWire(self.store, self.settings)


def settings_for(folder: Path, provider: IdentityProvider, database_url: str, **fields: Any) -> ServerSettings:
    defaults: dict[str, Any] = {
        "database_url": database_url,
        "secret_key": b"a secret of the tests, 32 bytes.",
        "staff": {name: Member(token_sha256=token_digest(token), roles=roles) for name, token, roles in STAFF},
        "identifier_keys": {1: b"an identifier key, of 32 bytes.."},
        "identity_issuer": ISSUER,
        "identity_keys": provider.jwks,
        "identity_claims": {claim: kind for kind, claim in CLAIMS.items()},
        "identity_audience": AUDIENCE,
        "erasure_journal": str(folder / "erasures"),
        "repository": str(folder / "repository"),
        "phone_rate": None,
        "shop_rate": None,
        "log_requests": False,
    }
    return ServerSettings(**(defaults | fields))


@contextmanager
def local_world(folder: Path, database_url: str | None = None) -> Iterator[LocalWorld]:
    """A world in a folder; its store lies there too unless another address is given."""
    provider, clock = IdentityProvider(), SetClock()
    settings = settings_for(folder, provider, database_url or f"sqlite:///{folder / 'sync.sqlite'}")
    store = open_store(settings.database_url, clock, settings.keys)
    try:
        yield (world := LocalWorld(store, clock, provider, settings))
    finally:
        world.store.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalWorld]:
    """What holds, holds on both stores."""
    database_url = request.getfixturevalue("postgresql")() if request.param == "postgresql" else None
    with local_world(tmp_path, database_url) as created:
        yield created


@pytest.fixture(scope="session")
def new_world() -> Callable[[Path], Any]:
    """For tests that make many worlds."""
    return local_world


@pytest.fixture(scope="session")
def statements() -> Callable[[SqlStore], AbstractContextManager[list[str]]]:
    """Lists the statements that a store executes."""

    @contextmanager
    def listed(store: SqlStore) -> Iterator[list[str]]:
        made: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            made.append(statement)

        event.listen(store._engine, "before_cursor_execute", note)
        try:
            yield made
        finally:
            event.remove(store._engine, "before_cursor_execute", note)

    return listed


@pytest.fixture(scope="session")
def staff_tokens() -> dict[str, str]:
    """A token for each role, which has that role alone."""
    return {str(role): f"a-token-for-{role}-alone" for role in Role}


class HeldProfile:
    """A phone's copy of a profile, kept by applying deltas."""

    def __init__(self) -> None:
        self.version = 0
        self.owners: tuple[str, ...] = ()
        self.summary = Summary()
        self.hours: HourCounts = Counter()

    def apply(self, delta: ProfileDelta | None) -> None:
        if delta is None:
            return
        assert delta.base_version in (0, self.version)
        held = Summary() if delta.base_version == 0 else self.summary
        self.summary = Summary(items={**held.items, **delta.items}, orders={**held.orders, **delta.orders})
        counts = {} if delta.base_version == 0 else self.hours
        self.hours = Counter(counts | {(one.hour, one.event): one.count for one in delta.hours})
        self.version, self.owners = delta.version, delta.owners


@pytest.fixture(scope="session")
def held_profile() -> type[HeldProfile]:
    return HeldProfile


class HttpWire:
    """Speaks to a server over HTTP, as a device does."""

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(base_url=address, timeout=30)
        self.keys: dict[str, Ed25519PrivateKey] = {}
        self.challenges: dict[str, str] = {}

    def enrol(self, request: EnrolRequest) -> EnrolResponse:
        enrolled = codec.decode(self.post("/v1/devices", codec.encode(request)).content, EnrolResponse)
        self.challenges[enrolled.device_id] = enrolled.challenge
        return enrolled

    def sync(self, device_id: str, request: SyncRequest, format: str) -> SyncResponse:
        response = self.post("/v1/sync", codec.encode(request, format), device_id, **{"content-type": format})
        if response.status_code == 401:  # the challenge was too old: sign the one that came with the answer
            response = self.post("/v1/sync", codec.encode(request, format), device_id, **{"content-type": format})
        assert response.status_code == 200, response.text
        return codec.decode(response.content, SyncResponse, response.headers["content-type"].partition(";")[0])

    def post(self, path: str, body: bytes, device_id: str | None = None, **headers: str) -> httpx.Response:
        sent = {"content-type": "application/json"} | headers
        if device_id is not None:
            challenge = self.challenges.get(device_id, "none")
            signature = self.keys[device_id].sign(signed_bytes("POST", path, challenge, body))
            encoded = base64.urlsafe_b64encode(signature).decode().rstrip("=")
            sent["authorization"] = f"PocketrecDevice {device_id}.{challenge}.{encoded}"
        response = self.http.post(path, content=body, headers=sent)
        if device_id is not None and CHALLENGE_HEADER in response.headers:
            self.challenges[device_id] = response.headers[CHALLENGE_HEADER]
        return response


class HttpWorld(World):
    """A world around a server process."""

    wire: HttpWire

    def phone(self) -> Device:
        return self._known(super().phone())

    def till(self) -> Device:
        return self._known(super().till())

    def _known(self, device: Device) -> Device:
        self.wire.keys[device.device_id] = device.key
        return device


class ServerProcess:
    """`python -m sync_server` in a folder, which can be killed and started again."""

    def __init__(self, folder: Path, database_url: str | None = None, **fields: Any) -> None:
        self.provider = IdentityProvider()
        clock_file = folder / "clock"
        self.clock = FileSetClock(clock_file)
        url = database_url or f"sqlite:///{folder / 'sync.sqlite'}"
        self.settings = settings_for(folder, self.provider, url, clock_file=str(clock_file), **fields)
        self._settings_file = folder / "settings.json"
        self.configure()
        self.process: subprocess.Popen[str] | None = None

    def configure(self, **fields: Any) -> None:
        """Change settings of the next start."""
        self.settings = msgspec.structs.replace(self.settings, **fields)
        self._settings_file.write_bytes(msgspec.json.encode(self.settings))

    def start(self, *options: str, stderr: IO[bytes] | None = None) -> HttpWorld:
        command = [sys.executable, "-m", "sync_server", "--settings", str(self._settings_file), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert self.process.stdout is not None
        self.announced = self.process.stdout.readline()
        return HttpWorld(HttpWire(self.announced.split()[-1]), self.clock, self.provider, self.settings)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=30)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=30)


class ForkedServer(ServerProcess):
    """The same, started again in a moment; phones go on with the wire that they have."""

    def __init__(self, folder: Path, database_url: str | None = None, **fields: Any) -> None:
        super().__init__(folder, database_url, **fields)
        command = [sys.executable, "-m", "tests.sync_server.forked_servers", str(self._settings_file)]
        self.launcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._pid = 0
        self._world: HttpWorld | None = None

    def start(self, *_: str) -> HttpWorld:
        assert self.launcher.stdin is not None
        assert self.launcher.stdout is not None
        self.launcher.stdin.write("\n")
        self.launcher.stdin.flush()
        said = sorted(self.launcher.stdout.readline().split() for _ in range(2))  # the pid, and the address
        self._pid, address = int(said[0][-1]), said[1][-1]
        if self._world is None:
            self._world = HttpWorld(HttpWire(address), self.clock, self.provider, self.settings)
        else:
            self._world.wire.http.close()
            self._world.wire.http = httpx.Client(base_url=address, timeout=30)
        return self._world

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            while True:  # until it is gone
                os.kill(self._pid, 0)
        self._pid = 0

    def stop(self) -> int:
        if self._pid:
            self.kill()
        assert self.launcher.stdin is not None
        self.launcher.stdin.close()
        return self.launcher.wait(timeout=30)


@pytest.fixture(scope="session")
def http_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpWorld]:
    """One server process for all tests that do not hurt it."""
    server = ServerProcess(tmp_path_factory.mktemp("server"), max_decoded_bytes=2**20, max_body_bytes=2**19)
    try:
        yield server.start()
    finally:
        assert server.stop() == 0


@contextmanager
def hurtable(server: ServerProcess) -> Iterator[ServerProcess]:
    """A server that a test may hurt."""
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()  # a kill would leave its workers behind


@pytest.fixture
def sqlite_process(tmp_path: Path) -> Iterator[ServerProcess]:
    with hurtable(ServerProcess(tmp_path)) as server:
        yield server


@pytest.fixture
def postgresql_process(tmp_path: Path, postgresql: Callable[[], str]) -> Iterator[ServerProcess]:
    """Its database server is not hurt with it."""
    with hurtable(ServerProcess(tmp_path, postgresql())) as server:
        yield server


@pytest.fixture(params=["sqlite_process", "postgresql_process"])
def server_process(request: pytest.FixtureRequest) -> ServerProcess:
    """On each of the stores."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def forked_server() -> type[ForkedServer]:
    """For tests that kill servers by the dozen."""
    return ForkedServer
