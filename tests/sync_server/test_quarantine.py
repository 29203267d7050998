"""What cannot be read: told from others by keyed hashes only, and not kept for ever."""

import hashlib
import threading
from pathlib import Path

import msgspec
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, select

from contracts import codec
from contracts.sync import VerdictKind
from sync_server import erasure, identifier_rotation, quarantine, tables
from sync_server.damaged import read_request
from sync_server.erasure_journal import ErasureJournal
from sync_server.identifiers import IdentifierKeys
from sync_server.people import find
from sync_server.replay import Replayed, replay
from sync_server.sql_store import open_store
from sync_server.turn import take_turn
from sync_server.upkeep import Upkeep

QUARANTINED, CONFLICT = VerdictKind.QUARANTINED, VerdictKind.CONFLICT
OLD, NEW = b"an identifier key, of 32 bytes..", bytes(range(32))
LOGIN = "login:ada"
JSON = "application/json"


def kinds(response):
    return [verdict.kind for verdict in response.verdicts]


def rows(world, table=tables.quarantine):
    with world.store.read() as connection:
        return connection.execute(select(table)).all()


@pytest.fixture
def phone(world):
    phone = world.phone()
    phone.log_in(LOGIN)
    return phone


def sent(world, phone, *events, format=JSON):
    """Hand over a body as it comes over the network."""
    body = codec.encode(phone.request(*map(msgspec.Raw, events), format=format), format)
    return world.wire.sync(phone.device_id, read_request(body, format), format)


def unreadable(phone, seq):
    """With a key that can be read."""
    return codec.encode(phone.event(seq=seq)).replace(b'"price":', b'"nan":NaN,"price":')


def test_nobody_without_the_key_can_try_out_what_was_in_an_event(world, phone):
    keyless = [codec.encode({"owner": LOGIN, "card": "4711"}), b'"card:4711"', b'{"owner": "login:ada", "nan": NaN}']
    damaged = unreadable(phone, seq=0)
    assert kinds(sent(world, phone, *keyless, *keyless, damaged)) == [QUARANTINED] * 7
    hashes = {row.payload_hash for row in rows(world)}
    assert len(hashes) == 3  # the same poison is one row
    (event,) = rows(world, tables.events)
    plain = {hashlib.sha256(one).digest() for one in (*keyless, damaged)}
    named = {bytes.fromhex(world.store.keys.digest(1, one.decode().strip('"'))) for one in keyless}
    assert not (plain | named) & (hashes | {event.payload_hash})
    assert event.payload is None
    assert "4711" not in repr(rows(world))


def test_what_cannot_be_read_is_known_again_under_every_live_key(world, phone):
    poison, other = unreadable(phone, seq=0), unreadable(phone, seq=0).replace(b"milk", b"bread")
    assert kinds(sent(world, phone, poison)) == [QUARANTINED]
    world.settings = msgspec.structs.replace(world.settings, identifier_keys={1: OLD, 2: NEW})
    world.open_again()
    assert identifier_rotation.activate(world.store) == 2
    second = unreadable(phone, seq=1)
    assert kinds(sent(world, phone, poison, second)) == [QUARANTINED] * 2
    assert kinds(sent(world, phone, poison, second, other)) == [QUARANTINED, QUARANTINED, CONFLICT]


def test_no_reason_quotes_what_was_sent(world, phone):
    good = msgspec.to_builtins(phone.event())
    wrong = [
        {"type": LOGIN},
        {"quantity": LOGIN},
        {"price": {LOGIN: 1}},
        {"context": {LOGIN: 1}},
        {LOGIN: 1, "seq": ""},
    ]
    events = [codec.encode(good | {"seq": seq} | one) for seq, one in enumerate(wrong)]
    answer = sent(world, phone, *events, b'{"owner":"login:ada"' + b"\xff}")
    assert kinds(answer) == [QUARANTINED] * 6
    assert all(verdict.reason for verdict in answer.verdicts)
    assert [verdict.reason for verdict in answer.verdicts if LOGIN in verdict.reason] == []


def test_poison_without_a_key_is_forgotten_after_quarantine_days(world, phone, monkeypatch):
    monkeypatch.setattr(quarantine, "PRUNED_TOGETHER", 2)
    sent(world, phone, *(b'"%d"' % number for number in range(5)), unreadable(phone, seq=0))
    world.pass_hours(24)
    sent(world, phone, b'"young"')
    world.pass_hours(24 * 89)
    assert quarantine.prune(world.store, world.settings.quarantine_days) == 5
    assert len(rows(world)) == 1
    assert len(rows(world, tables.events)) == 1  # its number is used
    assert quarantine.prune(world.store, world.settings.quarantine_days) == 0


class Ticks:
    """A clock that a test moves, and waits for what it starts."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.looked = threading.Semaphore(0)

    def __call__(self) -> float:
        self.looked.release()
        return self.seconds


def test_a_running_server_prunes_and_completes_an_erasure_that_failed(world, phone):
    phone.sync(phone.event("milk"))
    sent(world, phone, b'"poison"')
    world.pass_hours(24 * 91)
    journal = ErasureJournal(Path(world.settings.erasure_journal))
    ticks = Ticks()
    upkeep = Upkeep(world.store, world.settings, journal, ticks, look_s=0.001)

    def fail() -> None:
        with take_turn(world.store) as turn:
            person = find(turn.connection, turn.keys, [LOGIN])[LOGIN].person_id
            erasure.erase(turn, journal, world.store.generation, person, "staff ada")
            raise OSError("the disk is full")

    try:
        assert ticks.looked.acquire(timeout=30)
        with pytest.raises(OSError, match="the disk is full"):
            fail()
        assert (len(rows(world)), len(rows(world, tables.owners))) == (1, 1)
        ticks.seconds = 3601
        while rows(world) or rows(world, tables.owners):
            assert ticks.looked.acquire(timeout=30)
    finally:
        upkeep.close()
    assert [row.action for row in rows(world, tables.audit_log)][-1] == "replay_erasures"


def test_an_erasure_is_completed_once_and_the_journal_read_only_when_it_grew(world, phone):
    phone.sync(phone.event("milk"))
    journal = ErasureJournal(Path(world.settings.erasure_journal))
    complete = erasure.Completion(world.store, journal)
    assert complete() == 0
    with take_turn(world.store) as turn:
        person = find(turn.connection, turn.keys, [LOGIN])[LOGIN].person_id
        done = erasure.erase(turn, journal, world.store.generation, person, "staff ada")
    assert complete() == 0  # it did not fail
    journal.append(msgspec.structs.replace(done, erasure_id="of a transaction that failed"))
    assert [complete(), complete()] == [1, 0]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    return request.getfixturevalue("postgresql")() if request.param == "postgresql" else f"sqlite:///{tmp_path / 'db'}"


def test_a_store_of_before_keeps_its_held_events_and_loses_its_plain_hashes(database_url):
    wish = {"device_id": "d", "epoch": 1, "type": "wishlist_added", "occurred_at": 50, "uptime_ms": 1, "context": {}}
    quantity = {"quantity": 1, "boot_id": "b", "item_id": "milk"}
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", "sync_server:migrations")
        config.attributes["connection"] = connection
        config.attributes["identifier_keys"] = IdentifierKeys({1: OLD})
        command.upgrade(config, "0012")
        mark = "?" if connection.dialect.name == "sqlite" else "%s"
        for owner, since in ((1, 40), (2, 60)):
            values = f"{owner}, 'login', 1, 'd{owner}', 'h{owner}', {owner}, 1, 0, 0"
            columns = "id, kind, key_version, digest, handle, person_id, stamp, profile_stamp, not_before"
            connection.exec_driver_sql(f"INSERT INTO owners ({columns}) VALUES ({values})")
            columns = "owner_id, purpose, version, granted, since, stamp"
            for purpose in ("personalization", "analytics"):
                values = f"{owner}, '{purpose}', 1, TRUE, {since}, 1"
                connection.exec_driver_sql(f"INSERT INTO consents ({columns}) VALUES ({values})")
        columns = "device_id, epoch, seq, payload_hash, verdict, reason, owner_id, payload, received_at"
        insert = (
            f"INSERT INTO events ({columns}) VALUES ('d', 1, {mark}, {mark}, 'quarantined', 'x', {mark}, {mark}, 100)"
        )
        for seq, owner, occurred_at in ((0, 1, 50), (1, 2, 50), (2, 1, 10**6), (3, None, None)):
            fields = wish | quantity | {"seq": seq, "occurred_at": occurred_at}
            payload = codec.encode(fields) if owner else None
            connection.exec_driver_sql(insert, (seq, bytes(32), owner, payload))
        connection.exec_driver_sql(f"INSERT INTO quarantine VALUES ('d', {mark}, 'x', 1)", (bytes(32),))
    engine.dispose()
    store = open_store(database_url, keys=IdentifierKeys({1: OLD}))
    try:
        with store.read() as connection:
            found = connection.execute(select(tables.events).order_by(tables.events.c.seq)).all()
            assert connection.execute(select(tables.quarantine)).all() == []
        assert [(row.occurred_ms, row.uncertain, row.profiled) for row in found[:3]] == [
            (50, True, True),
            (50, True, False),  # their consent is younger
            (100, True, True),  # not later than it came
        ]
        assert found[0].payload == (
            b'{"device_id":"d","epoch":1,"seq":0,"type":"wishlist_added","occurred_at":50,"boot_id":"b","uptime_ms":1,'
            b'"item_id":"milk"}'
        )
        assert found[0].payload_hash == hashlib.sha256(found[0].payload).digest()
        assert (found[3].payload, found[3].payload_hash) == (None, b"")
        assert replay(store) == Replayed(0, 3)
    finally:
        store.close()
