"""What Prometheus reads: counters of all workers together, and what the store says of itself.

Counters live in memory-mapped files of a folder that all workers share (prometheus_client's multiprocess mode), so it
does not matter which of them is asked. Labels come from fixed lists: routes as they are declared, status codes,
verdicts. Nothing tells people or devices apart.
"""

import os
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import Connection, text

from contracts.errors import InputError
from contracts.sync import SyncResponse, VerdictKind
from sync_server import consistency, outbox
from sync_server.store import Store
from sync_server.sync import Prepared

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
LAG_SECONDS = (1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600, 3 * 24 * 3600, 7 * 24 * 3600, 28 * 24 * 3600)
GROUP = (1, 2, 4, 8, 16, 32, 64, 128)
UNROUTED = "unrouted"  # every address that is none of the service's

_BYTES = {
    "sqlite": text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"),
    "postgresql": text("SELECT pg_database_size(current_database())"),
}


Take = Callable[[Sequence[Prepared]], list[SyncResponse | InputError]]


class Metrics:
    """The counters of a worker."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        mine = self._registry
        self._requests = Counter(
            "pocketrec_requests", "Requests answered, by route and status.", ["route", "status"], registry=mine
        )
        self._seconds = Histogram(
            "pocketrec_request_seconds",
            "From a request's first byte to its answer, by route.",
            ["route"],
            buckets=SECONDS,
            registry=mine,
        )
        self._turn_seconds = Histogram(
            "pocketrec_turn_seconds", "Time of a transaction that syncs share.", buckets=SECONDS, registry=mine
        )
        self._group = Histogram(
            "pocketrec_group_syncs", "Syncs that share a transaction.", buckets=GROUP, registry=mine
        )
        self._verdicts = Counter("pocketrec_verdicts", "Events, by verdict.", ["kind"], registry=mine)
        self._lag = Histogram(
            "pocketrec_event_lag_seconds",
            "How old the oldest event of a sync was when it was sent, by the device's own clock.",
            buckets=LAG_SECONDS,
            registry=mine,
        )
        # To find a counter by its labels takes longer than to count; routes and statuses are few.
        self._requests_of, self._seconds_of = cache(self._requests.labels), cache(self._seconds.labels)
        for kind in VerdictKind:
            self._verdicts.labels(kind)  # a kind that never came reads as 0

    def answered(self, route: str, status: int, seconds: float) -> None:
        self._requests_of(route, status).inc()
        self._seconds_of(route).observe(seconds)

    def counting(self, take: Take) -> Take:
        """The function that takes a group's turn, with what it does counted."""

        def counted(group: Sequence[Prepared]) -> list[SyncResponse | InputError]:
            began = time.perf_counter()
            answers = take(group)
            self.took_turn(answers, filter(None, map(_lag_ms, group)), time.perf_counter() - began)
            return answers

        return counted

    def took_turn(self, answers: Sequence[SyncResponse | InputError], lags_ms: Iterable[int], seconds: float) -> None:
        """Count a transaction.

        Args:
            answers: to its syncs.
            lags_ms: of the syncs with events, the age of each one's oldest.
            seconds: that it took.
        """
        self._turn_seconds.observe(seconds)
        self._group.observe(len(answers))
        kinds = Tally(
            verdict.kind for answer in answers if isinstance(answer, SyncResponse) for verdict in answer.verdicts
        )
        for kind, number in kinds.items():
            self._verdicts.labels(kind).inc(number)
        for lag_ms in lags_ms:
            self._lag.observe(max(0, lag_ms) / 1000)  # a clock that was set back makes it negative

    def exposition(self, store: Store) -> bytes:
        """What `/metrics` answers, of all workers."""
        registry = CollectorRegistry()
        registry.register(_StoreCollector(store))
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):  # set by `sync_server.serve`
            MultiProcessCollector(registry)
            return generate_latest(registry)
        return generate_latest(self._registry) + generate_latest(registry)


def _lag_ms(prepared: Prepared) -> int | None:
    """The age of a sync's oldest event when it was sent; None without events."""
    oldest = min((one.event.occurred_at for one in prepared.received if one.event), default=None)
    return None if oldest is None else prepared.request.sent_at - oldest


class _StoreCollector(Collector):
    """What is read from the store when somebody asks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> list[Metric]:
        return []  # or the registry would collect once to learn the names

    def collect(self) -> Iterator[Metric]:
        with self._store.read() as connection:
            yield _gauge("pocketrec_store_bytes", "Size of the database.", store_bytes(connection))
            waiting = outbox.waiting(connection, self._store.now_ms())
            told = consistency.of_everybody(connection, self._store.now_ms())
        yield _gauge("pocketrec_outbox_messages", "Messages that the broker has not acknowledged.", waiting.messages)
        yield _gauge("pocketrec_outbox_lag_seconds", "How long the oldest of them waits.", waiting.oldest_ms / 1000)
        yield _gauge("pocketrec_profile_devices", "Devices that synced within a day and hold a profile.", told.devices)
        yield _gauge("pocketrec_profile_consistency", "Share of them that hold it as it is now.", told.share)


def store_bytes(connection: Connection) -> int:
    """How large the database is."""
    return int(connection.execute(_BYTES[connection.dialect.name]).scalar_one())


def _gauge(name: str, says: str, value: float) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, says)
    family.add_metric([], value)
    return family
