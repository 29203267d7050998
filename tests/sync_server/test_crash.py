"""kill -9 while a device syncs: what was acknowledged is there, and what is sent again is not counted twice."""

import threading

import httpx

from contracts.summary import HOUR_MS, summarize
from contracts.sync import VerdictKind
from sync_server import audit
from sync_server.received import payload_hash
from sync_server.sql_store import open_store

BATCH = 20
ACKNOWLEDGED_BEFORE_THE_KILL = 10  # batches


def test_acknowledged_events_survive_a_kill(server_process):
    world = server_process.start()
    phone = world.phone()
    phone.log_in("login:ada")
    created = [phone.event(f"item-{number % 7}") for number in range(BATCH * 400)]
    hour = world.clock.time_ms // HOUR_MS
    acknowledged, enough = [], threading.Event()

    def send_until_it_breaks():
        for start in range(0, len(created), BATCH):
            batch = created[start : start + BATCH]
            try:
                answer = phone.sync(*batch)
            except httpx.TransportError:
                break
            assert {verdict.kind for verdict in answer.verdicts} == {VerdictKind.ACCEPTED}
            acknowledged.extend(batch)
            if len(acknowledged) >= ACKNOWLEDGED_BEFORE_THE_KILL * BATCH:
                enough.set()
        enough.set()

    sender = threading.Thread(target=send_until_it_breaks)
    sender.start()
    assert enough.wait(timeout=60)
    server_process.kill()
    sender.join()
    assert ACKNOWLEDGED_BEFORE_THE_KILL * BATCH <= len(acknowledged) < len(created)

    store = open_store(server_process.settings.database_url, world.clock)
    survived = audit.accepted_events(store)
    assert {event.key: payload_hash(event) for event in acknowledged}.items() <= survived.items()
    assert len(survived) % BATCH == 0  # a request is taken whole or not at all

    again = server_process.start()
    again.wire.keys = world.wire.keys
    phone.world = again
    sent = created[: len(acknowledged) + 2 * BATCH]
    for start in range(0, len(sent), 3 * BATCH):  # in other chunks
        phone.sync(*sent[start : start + 3 * BATCH])
    assert audit.accepted_events(store) == {event.key: payload_hash(event) for event in sent}
    assert audit.profile(store, "login:ada") == summarize((event, hour) for event in sent)
    store.close()
    assert server_process.stop() == 0
