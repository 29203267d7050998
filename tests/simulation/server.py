"""The shipped server, as the simulation holds it: workers over one store, spoken to in bytes.

Only this file knows how the server is called. A request goes through the same steps as in `sync_server.app`, signature
and HTTP aside: decompressed, decoded, prepared, and taken together with others in one transaction.
"""

import asyncio
import atexit
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.codec import decode, encode
from contracts.errors import InputError
from contracts.identity import DeviceRole, OwnerKind
from contracts.sync import EnrolRequest, EnrolResponse, SyncRequest, SyncResponse
from device_sim.identity_provider import CLAIMS, ISSUER, IdentityProvider
from sync_server import erasure, people, unmerge
from sync_server.damaged import read_request
from sync_server.enrolment import enrolling
from sync_server.erasure_journal import Erasure, ErasureJournal
from sync_server.recovery import make_ready
from sync_server.relay import Relay
from sync_server.settings import ServerSettings
from sync_server.sql_store import SqlStore, open_store
from sync_server.staff import Member, Role, token_digest
from sync_server.sync import Prepared, prepare, sync_together
from sync_server.turn import take_turn
from sync_server.wire import decompress
from tests.simulation.devices import Claim
from tests.simulation.disk import Disk

STAFF_TOKEN = "a staff token of the simulation"
AUDIENCE = "shop"
WORKERS = 2
MAX_DECODED_BYTES = 2**20
LAST_EXPIRY_S = 2**33
_KEY = Ed25519PrivateKey.from_private_bytes(b"an identity provider of the sim.")
_PROVIDER = IdentityProvider(AUDIENCE, lambda: 0, _KEY)
_tokens: dict[Claim, str] = {}  # the same in every run


@dataclass(frozen=True)
class Letter:
    """A request on its way."""

    device_id: str  # who signed it
    body: bytes
    encoding: str
    format: str


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self, time_ms: int) -> None:
        self.time_ms = time_ms

    def now_ms(self) -> int:
        return self.time_ms


class Broker:
    """Keeps the numbers of the messages that the relay publishes, as they come; something may happen meanwhile."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.meanwhile: Callable[[], None] | None = None

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def publish(self, body: bytes, handle: str, message_id: str) -> None:
        self.heard.append(int(message_id.rpartition("-")[2]))
        if self.meanwhile:
            happening, self.meanwhile = self.meanwhile, None
            happening()


class Server:
    """Several workers; each has the store open by itself, as processes have."""

    def __init__(self, disk: Disk, clock: SetClock) -> None:
        self.disk, self.clock = disk, clock
        self.settings = ServerSettings(
            database_url="sqlite:///none",  # each worker opens what the disk holds then
            secret_key=b"a secret of the simulation, 32 b",
            staff={"ada": Member(token_sha256=token_digest(STAFF_TOKEN), roles=frozenset({Role.INGEST}))},
            identifier_limits=dict.fromkeys(OwnerKind, 1_000_000),  # the oracle joins whom links join
            identifier_keys={1: b"an identifier key of the sim, 32"},
            identity_issuer=ISSUER,
            identity_keys=_PROVIDER.jwks,
            identity_claims={claim: kind for kind, claim in CLAIMS.items()},
            identity_audience=AUDIENCE,
            erasure_journal=str(disk.folder / "erasures"),
            repository=str(disk.folder / "no repository"),
        )
        self.journal = ErasureJournal(Path(self.settings.erasure_journal))
        self.broker = Broker()
        self._stores: list[SqlStore | None] = [None] * WORKERS

    def store(self, worker: int = 0) -> SqlStore:
        """A worker's own, opened when the worker has something to do."""
        store = self._stores[worker]
        if store is None:
            store = open_store(self.disk.url, self.clock, self.settings.keys, publishes=True)
            make_ready(store, self.journal)
            self._stores[worker] = store
        return store

    def stop(self, *workers: int) -> None:
        """End some workers in peace, or all; they start again over what the disk holds then."""
        for number in workers or range(len(self._stores)):
            store, self._stores[number] = self._stores[number], None
            if store is not None:
                store.close()

    def enrol(self, public_key: bytes, role: DeviceRole, worker: int = 0) -> EnrolResponse:
        token = None if role is DeviceRole.PHONE else STAFF_TOKEN
        wanted = EnrolRequest(public_key=public_key, role=role, staff_token=token)
        return enrolling(self.store(worker), self.settings)(wanted, "192.0.2.1")

    def erase(self, owner: str, worker: int) -> None:
        """Erase the person of an owner that is known."""
        store = self.store(worker)
        with take_turn(store) as turn:
            person_id = people.find(turn.connection, turn.keys, [owner])[owner].person_id
            erasure.erase(turn, self.journal, store.generation, person_id, "staff ada")

    def erasures(self) -> int:
        """How many there were, as the journal has it."""
        return sum(isinstance(line, Erasure) for line in self.journal.read())

    def unmerge(self, one_side: Sequence[str], other_side: Sequence[str], worker: int) -> None:
        """Keep owners apart that are known."""
        with take_turn(self.store(worker)) as turn:
            known = people.find(turn.connection, turn.keys, [*one_side, *other_side])
            sides = [[known[owner].handle for owner in side] for side in (one_side, other_side)]
            unmerge.unmerge(turn, "staff ada", *sides)

    def lift(self, separation: int, worker: int) -> None:
        with take_turn(self.store(worker)) as turn:
            unmerge.lift(turn, "staff ada", separation)

    def publish(self, worker: int) -> int:
        """One step of the relay; returns how many messages it took to the broker."""
        return _runner().run(Relay(self.store(worker), lambda: self.broker, kept_days=28).step(self.broker))

    def take(self, letters: Sequence[Letter], worker: int) -> list[tuple[bytes, str] | InputError]:
        """Answers as bytes with their format; requests that cannot be read are refused before the transaction."""
        answers: list[tuple[bytes, str] | InputError | None] = [None] * len(letters)
        ready: list[Prepared] = []
        places: list[int] = []
        for place, letter in enumerate(letters):
            try:
                ready.append(self._read(letter))
                places.append(place)
            except InputError as error:
                answers[place] = error
        if ready:
            for place, found in zip(places, sync_together(self.store(worker), self.settings, ready), strict=True):
                if isinstance(found, SyncResponse):
                    answers[place] = encode(found, letters[place].format), letters[place].format
                else:
                    answers[place] = found
        return [answer for answer in answers if answer is not None]

    def _read(self, letter: Letter) -> Prepared:
        body = decompress(letter.body, letter.encoding, MAX_DECODED_BYTES)
        request = read_request(body, letter.format)
        return prepare(self.settings, letter.device_id, request, letter.format, self.clock.now_ms())


class Witness:
    """See `tests.simulation.oracle.Witness`: looks into the files, past the server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def holds(self, fact_id: str) -> bool:
        return self._server.disk.ask("SELECT 1 FROM consent_facts WHERE fact_id = ?", fact_id) is not None

    def synced_at(self, device_id: str) -> int:
        return int(self._server.disk.ask("SELECT synced_at FROM devices WHERE device_id = ?", device_id) or 0)

    def age(self, owner: str) -> int:
        digests = self._server.settings.keys.digests(owner)
        return int(self._server.disk.ask("SELECT id FROM owners WHERE digest = ?", *digests))


def letter(request: SyncRequest, format: str, encoding: str) -> Letter:
    body = encode(request, format)
    return Letter(request.device_id, _ENCODE[encoding](body), encoding, format)


def token(claim: Claim) -> str:
    """What the shop's identity provider signs."""
    if claim not in _tokens:
        sub, also = claim
        _tokens[claim] = _PROVIDER.token(sub, also, exp=LAST_EXPIRY_S)
    return _tokens[claim]


def read_answer(answer: tuple[bytes, str]) -> SyncResponse:
    return decode(answer[0], SyncResponse, answer[1])


@cache
def _runner() -> asyncio.Runner:
    """One event loop for all runs, with its threads."""
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner


_ENCODE = {"": bytes, "zstd": zstandard.ZstdCompressor(level=1).compress}
