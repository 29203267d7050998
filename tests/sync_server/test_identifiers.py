"""Identifiers at rest: no clear name on the disk, keys that rotate, stores that held names brought along."""

import hashlib

import msgspec
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData, create_engine, insert, select

from contracts import codec
from contracts.consent import Purpose
from contracts.errors import ConfigError
from contracts.events import Event, EventType
from contracts.sync import VerdictKind
from sync_server import census, identifier_rotation, people
from sync_server.identifiers import IdentifierKeys
from sync_server.received import at_rest, from_rest, payload_hash
from sync_server.sql_store import open_store
from sync_server.tables import events, owners, tombstones
from sync_server.turn import take_turn

OLD, NEW = bytes(32), bytes(range(32))
NAMES = ("login:ada.lovelace@example.org", "card:4929-0032-1188", "anonymous:7f0d-session", "login:bob.the.builder")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    return request.getfixturevalue("postgresql")() if request.param == "postgresql" else f"sqlite:///{tmp_path / 'db'}"


def kinds(response):
    return [verdict.kind for verdict in response.verdicts]


def everything(store, folder):
    """All that lies in the database: of SQLite the files' bytes, of PostgreSQL every value of every table."""
    with store.read() as connection:
        if connection.dialect.name == "sqlite":
            return b"".join(file.read_bytes() for file in folder.glob("*.sqlite*"))
        found, schema = [], MetaData()
        schema.reflect(connection)
        for table in schema.tables.values():
            for row in connection.execute(select(table)):
                found += [value if isinstance(value, bytes) else str(value).encode() for value in row]
        return b"\n".join(found)


def test_no_clear_identifier_lies_in_the_database_after_a_busy_day(world, tmp_path):
    login, card, session, other = NAMES
    phone, till, second = world.phone(), world.till(), world.phone()
    phone.log_in(login, card)
    phone.sync(phone.event(), phone.event("bread", order_id="o"), owner=login, known_owners=(card, other))
    phone.sync(phone.event(), format="application/msgpack", owner=login)
    till.sync(till.event(owner=card), consents=(till.fact(Purpose.ANALYTICS, owner=card, fact_id="till"),))
    phone.owner = session
    phone.sync(phone.event(owner=session), owner=session, consents=(phone.fact(Purpose.PERSONALIZATION),))
    phone.sync(phone.event("again", owner=session), owner=session)
    second.log_in(other, purposes=())
    second.sync(second.event(), phone.event(owner=login))
    good = msgspec.to_builtins(phone.event(owner=login))
    for format in codec.FORMATS:
        for poison in (
            {"type": "teleported"},
            {"owner": other.partition(":")[2]},
            {"seq": "none"},
            {"quantity": 0, "extra": {"deep": [1, None]}},
        ):
            phone.sync(msgspec.Raw(codec.encode(good | {"seq": phone.seq} | poison, format)), format=format)
            phone.seq += 1
    with pytest.raises(Exception, match="not proven"):
        phone.sync(phone.event(), consents=(phone.fact(Purpose.ANALYTICS, owner=other),))
    kept = everything(world.store, tmp_path)
    assert b"teleported" in kept  # it is held, and can be replayed
    assert [name for name in NAMES if name.encode() in kept or name.partition(":")[2].encode() in kept] == []


def test_an_event_at_rest_comes_back_with_its_owner(world):
    event = world.phone().event(context={"b": "1", "a": "2"}, order_id="o")
    assert from_rest(at_rest(event), event.owner) == event
    assert b"owner" not in at_rest(event)
    assert payload_hash(event) == hashlib.sha256(at_rest(event)).digest()


def test_the_same_key_of_another_owner_is_a_conflict(world):
    phone = world.phone()
    phone.log_in("login:ada")
    event = phone.event()
    phone.sync(event)
    phone.log_in("login:bob")
    assert kinds(phone.sync(event)) == [VerdictKind.DUPLICATE]
    taken = msgspec.structs.replace(event, owner="login:bob")
    answer = phone.sync(taken)
    assert kinds(answer) == [VerdictKind.CONFLICT]
    assert kinds(phone.sync(msgspec.structs.replace(taken, epoch=answer.epoch), epoch=answer.epoch)) == [
        VerdictKind.ACCEPTED
    ]
    assert kinds(phone.sync(event, taken, epoch=event.epoch)) == [VerdictKind.DUPLICATE, VerdictKind.CONFLICT]


def test_a_phone_learns_which_of_its_names_are_one_person_and_no_other_name(world):
    phone, till = world.phone(), world.till()
    till.sync(till.event(owner="card:3"))
    phone.log_in("login:ada", "card:1", "card:2")
    answer = phone.sync(owner="login:ada", known_owners=("card:2", "card:3", "anonymous:never"))
    assert answer.profile.owners == ("card:2", "login:ada")
    assert census.persons(world.store, ["anonymous:never"]) == {}  # to be asked about makes nobody known


class TestRotation:
    """Two workers over one store, each with the keys that it was started with."""

    @pytest.fixture
    def worker(self, database_url):
        opened = []

        def start(**keys):
            store = open_store(database_url, keys=IdentifierKeys({int(name[1:]): key for name, key in keys.items()}))
            opened.append(store)
            return store

        yield start
        for store in opened:
            store.close()

    @staticmethod
    def owner_id(store, name):
        with take_turn(store) as turn:
            return people.ensure(turn, [name])[name].id

    def test_a_key_is_added_put_in_force_and_the_old_one_removed_and_nobody_is_doubled(self, worker):
        first, second = worker(v1=OLD), worker(v1=OLD)
        ada, bob = self.owner_id(first, "login:ada"), self.owner_id(first, "login:bob")
        first = worker(v1=OLD, v2=NEW)  # the second worker does not know the new key yet
        eve = self.owner_id(first, "login:eve")
        assert self.owner_id(first, "login:ada") == ada
        assert [self.owner_id(second, f"login:{name}") for name in ("ada", "eve")] == [ada, eve]
        assert identifier_rotation.holdings(first) == {1: 3}
        second = worker(v1=OLD, v2=NEW)
        assert identifier_rotation.activate(second) == 2
        assert [self.owner_id(first, f"login:{name}") for name in ("ada", "eve")] == [ada, eve]
        dan = self.owner_id(second, "login:dan")
        assert identifier_rotation.holdings(first) == {1: 1, 2: 3}
        last = worker(v2=NEW)
        assert [self.owner_id(last, f"login:{name}") for name in ("ada", "eve", "dan")] == [ada, eve, dan]
        assert self.owner_id(last, "login:bob") not in (ada, bob, eve, dan)  # never seen: forgotten with the old key

    def test_erased_names_count_under_the_key_that_knows_them(self, worker):
        store = worker(v1=OLD, v2=NEW)
        stones = [{"digest": name, "key_version": key, "erased_at": 5} for name, key in (("a", 1), ("b", 1), ("c", 2))]
        with store.write() as connection:
            connection.execute(insert(tombstones), stones)
        assert identifier_rotation.erased(store) == {1: 2, 2: 1}
        assert identifier_rotation.holdings(store) == {}

    def test_a_worker_without_the_key_in_force_writes_nothing_and_does_not_start(self, worker):
        late = worker(v1=OLD)
        ada = self.owner_id(late, "login:ada")
        identifier_rotation.activate(worker(v1=OLD, v2=NEW))
        with pytest.raises(ConfigError, match="identifier key 2 is in force"):
            self.owner_id(late, "login:ada")
        with pytest.raises(ConfigError, match="identifier key 2 is in force"):
            worker(v1=OLD)
        assert self.owner_id(worker(v1=OLD, v2=NEW), "login:ada") == ada

    def test_another_key_under_a_known_number_is_refused(self, worker):
        worker(v1=OLD)
        with pytest.raises(ConfigError, match="not the one that this store knows"):
            worker(v1=NEW)


def test_a_short_key_is_refused():
    with pytest.raises(ConfigError, match="31 bytes"):
        IdentifierKeys({1: bytes(31)})


class TestMigration:
    """From a store that holds names in clear."""

    EVENT = Event(
        device_id="d", epoch=1, seq=0, type=EventType.VIEW, owner=NAMES[0], occurred_at=5, boot_id="b", uptime_ms=1,
        item_id="milk", context={"a": "1"},
    )  # fmt: skip

    @pytest.fixture
    def old_store(self, database_url):
        engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
        quarantined = msgspec.to_builtins(self.EVENT) | {"type": "teleported"}
        rows = [
            (0, "accepted", "", 1, codec.encode(self.EVENT)),
            (1, "quarantined", "invalid", None, codec.encode(quarantined | {"owner": NAMES[1]}, codec.FORMATS[1])),
            (
                2,
                "quarantined",
                f"owner '{NAMES[3]}' is not kind:value with kind one of login",
                None,
                b"\xc1" + b"poison",
            ),
            (3, "refused", "no consent", None, None),
        ]
        with engine.begin() as connection:
            config = Config()
            config.set_main_option("script_location", "sync_server:migrations")
            config.attributes["connection"] = connection
            command.upgrade(config, "0002")
            mark = "?" if connection.dialect.name == "sqlite" else "%s"
            for owner_id, name in enumerate(NAMES[:3], start=1):
                text = f"INSERT INTO owners (id, owner, person_id, stamp) VALUES ({owner_id}, '{name}', 1, 0)"
                connection.exec_driver_sql(text)
            connection.exec_driver_sql("INSERT INTO links VALUES (1, 2, 'd', 0)")
            connection.exec_driver_sql("INSERT INTO store VALUES (1, 'generation', 7)")
            insert = f"INSERT INTO events VALUES ('d', 1, {', '.join([mark] * 5)}, 0, FALSE, TRUE, {mark}, 0)"
            for seq, verdict, reason, owner_id, payload in rows:
                connection.exec_driver_sql(insert, (seq, bytes(32), verdict, reason, owner_id, payload))
        engine.dispose()

    def test_names_are_hashed_and_events_lose_them(self, old_store, database_url, tmp_path):
        store = open_store(database_url, keys=IdentifierKeys({1: OLD, 2: NEW}))
        assert census.persons(store, NAMES) == dict.fromkeys(NAMES[:3], 1)
        assert census.accepted_events(store) == {self.EVENT.key: payload_hash(self.EVENT)}
        assert identifier_rotation.holdings(store) == {2: 3}
        with store.read() as connection:
            rows = connection.execute(select(events).order_by(events.c.seq)).all()
            handles = connection.execute(select(owners.c.handle)).scalars().all()
        assert [row.owner_id for row in rows] == [1, 2, None, None]
        assert from_rest(rows[0].payload, NAMES[0]) == self.EVENT
        assert msgspec.json.decode(rows[1].payload)["type"] == "teleported"
        assert rows[1].payload_hash == hashlib.sha256(rows[1].payload).digest()
        assert [row.payload for row in rows[2:]] == [None, None]
        assert len(set(handles)) == 3
        assert {len(handle) for handle in handles} == {32}
        kept = everything(store, tmp_path)
        store.close()  # SQLite's file is then all there is
        kept += b"".join(file.read_bytes() for file in tmp_path.glob("db*"))
        assert [name for name in NAMES if name.encode() in kept] == []

    def test_without_keys_nothing_is_changed(self, old_store, database_url):
        with pytest.raises(ConfigError, match="identifier_keys"):
            open_store(database_url)
        open_store(database_url, keys=IdentifierKeys({1: OLD})).close()
