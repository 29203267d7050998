"""Running the server: several workers over one store, how it ends, and what it tells those who operate it."""

import json
import logging
import re
import signal
import sqlite3
import threading

import httpx
import msgspec
import psycopg
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert
from sqlalchemy.engine import make_url

from contracts import codec
from contracts.sync import Problem, VerdictKind
from sync_server import census
from sync_server.app import create_app
from sync_server.logs import JsonLines
from sync_server.metrics import UNROUTED, Metrics, store_bytes
from sync_server.sql_store import open_store
from sync_server.tables import outbox

WORKERS = ("--workers", "2")
METRICS = {"authorization": "Bearer a-token-for-metrics-alone"}
SENDERS = 6
BATCH = 5


def metrics_of(world) -> dict[str, dict[tuple, float]]:
    """Every sample by name and labels."""
    answer = world.wire.http.get("/metrics", headers=METRICS)
    assert answer.status_code == 200, answer.text
    found: dict[str, dict[tuple, float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def send_by(world, phone, acknowledged: list, unanswered: list, enough: threading.Event, stop_at: int) -> None:
    """Sync until the server is gone; what was answered and what was not is told apart."""
    wire = type(world.wire)(str(world.wire.http.base_url))
    wire.keys, wire.challenges = world.wire.keys, dict(world.wire.challenges)
    while True:
        batch = [phone.event(f"item-{phone.seq % 7}") for _ in range(BATCH)]
        try:
            answer = wire.sync(phone.device_id, phone.request(*batch), "application/json")
        except httpx.TransportError:
            unanswered.extend(batch)
            return
        assert {verdict.kind for verdict in answer.verdicts} == {VerdictKind.ACCEPTED}
        acknowledged.extend(batch)
        if len(acknowledged) >= stop_at:
            enough.set()


def test_workers_that_are_asked_to_end_finish_what_they_took(server_process):
    end_under_load(server_process, *WORKERS)


def test_a_worker_inside_the_serving_process_finishes_what_it_took(sqlite_process):
    end_under_load(sqlite_process)


def end_under_load(server_process, *options: str) -> None:
    world = server_process.start(*options)
    phones = [world.phone() for _ in range(SENDERS)]
    for number, phone in enumerate(phones):
        phone.log_in(f"login:n{number}")
    acknowledged, unanswered, enough = [], [], threading.Event()
    arguments = (acknowledged, unanswered, enough, SENDERS * BATCH * 5)
    senders = [threading.Thread(target=send_by, args=(world, phone, *arguments)) for phone in phones]
    for sender in senders:
        sender.start()
    assert enough.wait(timeout=60)
    server_process.process.send_signal(signal.SIGTERM)
    for sender in senders:
        sender.join()
    assert server_process.process.wait(timeout=60) == 0

    store = open_store(server_process.settings.database_url, world.clock)
    held = census.accepted_events(store).keys()
    store.close()
    assert {event.key for event in acknowledged} == held  # and so: what was taken was answered
    assert len(unanswered) == SENDERS * BATCH
    assert not held & {event.key for event in unanswered}


def test_workers_count_together_and_labels_come_from_fixed_lists(sqlite_process):
    world = sqlite_process.start(*WORKERS)
    phones = [world.phone() for _ in range(3)]
    for number, phone in enumerate(phones):
        phone.log_in(f"login:n{number}")
        for _ in range(4):
            world.wire.http = httpx.Client(base_url=world.wire.http.base_url, timeout=30)  # perhaps another worker
            phone.sync(phone.event(occurred_at=world.clock.time_ms - 120_000), phone.event(owner="login:nobody"))
        phone.sync(msgspec.Raw(b'{"poison": true}'))
    world.wire.http.get("/v1/people/ada@example.org")
    world.wire.http.request("PURGE", "/v1/sync")
    found = metrics_of(world)
    verdicts = {dict(labels)["kind"]: value for labels, value in found["pocketrec_verdicts_total"].items()}
    expected = dict.fromkeys(VerdictKind, 0) | {"accepted": 12, "refused": 12, "quarantined": 3}
    assert verdicts == expected
    syncs = (("route", "/v1/sync"), ("status", "200"))
    assert found["pocketrec_requests_total"][syncs] == found["pocketrec_group_syncs_sum"][()] == 3 * 6
    assert found["pocketrec_request_seconds_count"][(("route", "/v1/sync"),)] >= 18
    lags = {dict(labels)["le"]: value for labels, value in found["pocketrec_event_lag_seconds_bucket"].items()}
    assert (lags["60.0"], lags["600.0"]) == (0, 12)
    assert found["pocketrec_store_bytes"][()] > 10_000
    assert found["pocketrec_outbox_messages"][()] == found["pocketrec_outbox_lag_seconds"][()] == 0  # no broker
    assert found["pocketrec_profile_devices"][()] >= 0 <= found["pocketrec_profile_consistency"][()] <= 1
    routes = {dict(labels)["route"] for labels in found["pocketrec_requests_total"]}
    known = {re.sub(r":\w+}", "}", route.path) for route in create_app(world.settings).routes}
    assert routes <= known | {UNROUTED}
    assert {"/v1/sync", UNROUTED} <= routes


def test_metrics_are_for_who_may_fetch_them(http_world):
    get = http_world.wire.http.get
    assert get("/metrics").status_code == 401
    assert get("/metrics", headers={"authorization": "Bearer a-token-for-read-alone"}).status_code == 403
    assert "pocketrec_requests_total" in get("/metrics", headers=METRICS).text


def test_the_log_of_a_busy_world_names_nobody(sqlite_process, tmp_path):
    sqlite_process.configure(log_requests=True)
    log = tmp_path / "log"
    secrets = ["ada@example", "ADA-EXAMPLE", "oat-milk-4711", "order-0815", "a-staff-token-of-the-tests", "a-token-for"]
    with log.open("wb") as stderr:
        world = sqlite_process.start(*WORKERS, stderr=stderr)
        phone, till = world.phone(), world.till()
        phone.log_in("login:ada@example", "card:ada@example")
        secrets += [phone.device_id, till.device_id, *world.wire.challenges.values()]
        event = phone.event("oat-milk-4711", order_id="order-0815")
        phone.sync(event, msgspec.Raw(b'{"owner": "login:ada@example"}'))
        phone.sync(msgspec.structs.replace(event, quantity=2))  # a conflict
        till.sync(till.event("oat-milk-4711", owner="card:ada@example"))
        http = world.wire.http
        sent = [
            http.get("/v1/ada@example?token=a-staff-token-of-the-tests"),
            http.post("/v1/rounds/oat-milk-4711", content=b"ada@example"),
            http.post(f"/v1/devices/{phone.device_id}/revocation"),
            http.post(
                "/v1/sync", content=b"ada@example", headers={"authorization": "Bearer a-staff-token-of-the-tests"}
            ),
            http.request("ADA-EXAMPLE", "/healthz"),
            http.get("/healthz", headers={"x-request-id": "ada@example"}),
        ]
        ids = {answer.headers["x-request-id"] for answer in sent if "x-request-id" in answer.headers}
        assert sqlite_process.stop() == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    allowed = {"time", "level", "logger", "message", "request_id", "method", "route", "status", "ms", "error", "where"}
    assert all(line.keys() <= allowed for line in lines)
    assert ids <= {line["request_id"] for line in lines}
    assert {"/v1/sync", "/v1/devices", "/healthz", UNROUTED} <= {line["route"] for line in lines}
    text = log.read_text()
    assert [secret for secret in secrets if secret in text] == []


def formatted(logger: str, *arguments, **fields) -> str:
    record = logging.getLogger(logger).makeRecord(logger, logging.ERROR, "file", 1, *arguments, **fields)
    return JsonLines().format(record)


def test_an_error_is_logged_by_its_type_and_place_without_what_it_says():
    try:
        raise ValueError("duplicate key (owner)=(login:ada)")
    except ValueError as error:
        line = json.loads(
            formatted("sync_server.app", "a request failed", (), (ValueError, error, error.__traceback__))
        )
    assert line["error"] == "builtins.ValueError"
    assert line["where"][-1].endswith("_without_what_it_says")
    assert "ada" not in json.dumps(line)


def test_of_a_group_with_one_error_that_one_is_logged():
    try:
        raise ExceptionGroup("unhandled errors in a TaskGroup", [OSError("disk of ada")])
    except ExceptionGroup as error:
        line = json.loads(formatted("_granian", "startup failed", (), (type(error), error, error.__traceback__)))
    assert line["error"] == "builtins.OSError"


def test_of_another_packages_line_only_the_template_is_kept():
    said = formatted("sqlalchemy.pool", "cannot use %s\nfor it", ("login:ada",), None)
    assert json.loads(said)["message"] == "cannot use %s"
    assert json.loads(formatted("sync_server.x", "cannot use %s", ("it",), None))["message"] == "cannot use it"


def test_a_store_that_is_gone_is_said_and_the_server_lives_on(postgresql_process, postgresql):
    world = postgresql_process.start()
    phone = world.phone()
    assert world.wire.http.get("/readyz").json()["status"] == "ready"
    name = make_url(postgresql_process.settings.database_url).database
    with psycopg.connect(postgresql(), autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
    for answer in (
        world.wire.http.get("/readyz"),
        world.wire.post("/v1/sync", codec.encode(phone.request()), phone.device_id),
        world.wire.http.get("/metrics", headers=METRICS),
    ):
        assert answer.status_code == 503
        assert "the store does not answer" in codec.decode(answer.content, Problem).detail
    assert world.wire.http.get("/healthz").status_code == 200
    assert postgresql_process.stop() == 0


def test_a_locked_store_is_waited_for(sqlite_process):
    """A writer from outside, such as a backup, holds requests up; it does not fail them."""
    world = sqlite_process.start()
    phone = world.phone()
    other = sqlite3.connect(make_url(sqlite_process.settings.database_url).database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(phone.sync()))
    waiting.start()
    assert world.wire.http.get("/healthz").status_code == 200
    other.execute("COMMIT")
    waiting.join(timeout=30)
    assert [answer.watermark for answer in answers] == [-1]
    other.close()


def test_what_the_store_says_of_itself(world):
    with world.store.read() as connection:
        assert store_bytes(connection) > 10_000
    with world.store.write() as connection:
        row = {"created_at": world.clock.time_ms, "handle": "h", "body": "{}"}
        connection.execute(insert(outbox), [row, row])
    world.pass_hours(2)
    said = Metrics().exposition(world.store).decode()
    assert "pocketrec_outbox_messages 2.0" in said
    assert "pocketrec_outbox_lag_seconds 7200.0" in said
