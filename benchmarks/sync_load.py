"""Phones that sync as fast as a server answers, for benchmarks/sync.py: one process, one connection each.

Requests are what the reference phone sends: MessagePack, zstd, signed, with the profile version that it holds. Events
are made before the clock starts; envelope, compression and signature are made while it runs.
"""

import asyncio
import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts import codec
from contracts.consent import ConsentFact, Purpose
from contracts.events import Event, EventType, Money
from contracts.sync import (
    CHALLENGE_HEADER,
    SIGNATURE_SCHEME,
    EnrolRequest,
    EnrolResponse,
    Heard,
    SyncRequest,
    SyncResponse,
    VerdictKind,
    signed_bytes,
)

FORMAT = "application/msgpack"
TYPES = (EventType.IMPRESSION, EventType.VIEW, EventType.VIEW, EventType.ADD_TO_CART, EventType.PURCHASE)
BOOT, SYNC = "boot", "/v1/sync"
HOUR_MS = 3_600_000
_COMPRESSOR = zstandard.ZstdCompressor(level=1)  # to make one takes longer than to compress a small body
_CHALLENGE = f"{CHALLENGE_HEADER.lower()}:".encode()


class Connection:
    """HTTP/1.1 over one socket, as little of it as a measurement needs."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port, self.challenge = host, port, ""

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)

    async def post(self, path: str, body: bytes, **headers: str) -> bytes:
        lines = [f"POST {path} HTTP/1.1", f"host: {self._host}", f"content-length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = await self._reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 2"):
            raise SystemExit(f"{path} was answered {head.splitlines()[0].decode()}: {answer.decode()}")
        place = head.lower().find(_CHALLENGE)
        if place >= 0:
            self.challenge = head[place + len(_CHALLENGE) :].partition(b"\r\n")[0].strip().decode()
        return answer


@dataclass
class Phone:
    """A phone of one person, and what it is going to send."""

    number: int
    connection: Connection
    login: str
    token: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    enrolled: EnrolResponse | None = None
    profile_version: int = 0
    heard: Heard | None = None
    batches: list[tuple[msgspec.Raw, ...]] = field(default_factory=list)

    async def begin(self) -> None:
        """Enrol, log in, and allow everything."""
        await self.connection.open()
        wanted = EnrolRequest(public_key=self.key.public_key().public_bytes_raw())
        answer = await self.connection.post("/v1/devices", codec.encode(wanted), content_type="application/json")
        self.enrolled = codec.decode(answer, EnrolResponse)
        self.connection.challenge = self.enrolled.challenge
        decided_at = _wall_ms() - HOUR_MS  # most events are made long after their person decided
        facts = tuple(
            ConsentFact(
                fact_id=f"{self.number}-{purpose}",
                owner=self.login,
                purpose=purpose,
                granted=True,
                cites=0,
                decided_at=decided_at,
            )
            for purpose in Purpose
        )
        await self.sync((), identity_tokens=(self.token,), consents=facts)

    def record(self, batches: int, size: int, items: int, rng: np.random.Generator) -> None:
        """Live through events, to be sent later."""
        assert self.enrolled is not None
        chosen, kinds = rng.zipf(1.3, batches * size) % items, rng.integers(0, len(TYPES), batches * size)
        wall_ms, uptime_ms = _wall_ms(), _uptime_ms()
        raw = [
            msgspec.Raw(
                codec.encode(
                    Event(
                        device_id=self.enrolled.device_id,
                        epoch=self.enrolled.epoch,
                        seq=seq,
                        type=TYPES[kind],
                        owner=self.login,
                        occurred_at=wall_ms,
                        boot_id=BOOT,
                        uptime_ms=uptime_ms,
                        item_id=f"item-{item}",
                        price=Money(100 + int(item) % 900, "EUR"),
                        order_id=f"{self.number}-{seq // 8}" if TYPES[kind] is EventType.PURCHASE else None,
                    ),
                    FORMAT,
                )
            )
            for seq, (item, kind) in enumerate(zip(chosen.tolist(), kinds.tolist(), strict=True))
        ]
        self.batches = [tuple(raw[first : first + size]) for first in range(0, len(raw), size)]

    async def sync(self, events: tuple[msgspec.Raw, ...], **fields: Any) -> SyncResponse:
        assert self.enrolled is not None
        request = SyncRequest(
            device_id=self.enrolled.device_id,
            epoch=self.enrolled.epoch,
            generation=self.enrolled.generation,
            sent_at=_wall_ms(),
            boot_id=BOOT,
            uptime_ms=_uptime_ms(),
            heard=self.heard,
            events=events,
            owner=self.login,
            profile_version=self.profile_version,
            **fields,
        )
        body = _COMPRESSOR.compress(codec.encode(request, FORMAT))
        challenge = self.connection.challenge
        signature = self.key.sign(signed_bytes("POST", SYNC, challenge, body))
        encoded = base64.urlsafe_b64encode(signature).decode().rstrip("=")
        answer = await self.connection.post(
            SYNC,
            body,
            content_type=FORMAT,
            content_encoding="zstd",
            authorization=f"{SIGNATURE_SCHEME} {self.enrolled.device_id}.{challenge}.{encoded}",
        )
        found = codec.decode(answer, SyncResponse, FORMAT)
        self.heard = Heard(server_time=found.server_time, boot_id=BOOT, uptime_ms=_uptime_ms())
        if found.profile is not None:
            self.profile_version = found.profile.version
        return found


@dataclass(frozen=True)
class Load:
    """What phones sent in one measurement."""

    syncs: int
    events: int
    seconds: float
    latencies_ms: tuple[float, ...]

    def percentile(self, share: float) -> float:
        return float(np.percentile(self.latencies_ms, 100 * share))


async def send_all(phones: list[Phone], pause: float = 0.0) -> Load:
    """Every phone sends its batches one after the other, all phones at once.

    Args:
        phones: that have recorded.
        pause: seconds that each waits between two syncs, for a load below what the server can take.
    """
    latencies: list[float] = []
    events = 0

    async def send(phone: Phone) -> None:
        nonlocal events
        await phone.connection.open()  # the one before was closed while events were made
        await asyncio.sleep(pause * phone.number / len(phones))
        for batch in _taken(phone.batches):
            begun = time.perf_counter()
            answer = await phone.sync(batch)
            latencies.append(1e3 * (time.perf_counter() - begun))
            accepted = sum(verdict.kind is VerdictKind.ACCEPTED for verdict in answer.verdicts)
            if accepted != len(batch):
                raise SystemExit(f"only {accepted} of {len(batch)} events were accepted: {answer.verdicts[:1]}")
            events += accepted
            if pause:
                await asyncio.sleep(max(pause - (time.perf_counter() - begun), 0.0))

    begun = time.perf_counter()
    await asyncio.gather(*(send(phone) for phone in phones))
    return Load(len(latencies), events, time.perf_counter() - begun, tuple(latencies))


def _taken(batches: list[tuple[msgspec.Raw, ...]]) -> Iterator[tuple[msgspec.Raw, ...]]:
    while batches:
        yield batches.pop(0)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _uptime_ms() -> int:
    return time.monotonic_ns() // 1_000_000
