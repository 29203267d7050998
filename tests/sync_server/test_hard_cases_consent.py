"""Two of the hard cases that a sync server must survive: what people decided counts, whatever arrives when."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import psycopg
import pytest
from sqlalchemy import make_url, select

from contracts.consent import Purpose
from contracts.errors import ConfigError
from contracts.sync import VerdictKind
from sync_server import audit_log, census, erasure, outbox, person_export, recovery, tables, training_export
from sync_server.__main__ import main as operate
from sync_server.erasure_journal import ErasureJournal
from sync_server.people import find
from sync_server.serve import serve
from sync_server.turn import take_turn

ACCEPTED, REFUSED = VerdictKind.ACCEPTED, VerdictKind.REFUSED
THREE_WEEKS = 21 * 24  # hours
NOBODYS = "192.0.2.1"  # an address for documentation (RFC 5737), which no machine has


def kinds(response):
    return [verdict.kind for verdict in response.verdicts]


def decided(phone, granted, cites, purpose):
    """A decision made now, with the phone's clocks."""
    name = f"{phone.device_id}/{purpose}/{granted}/{cites}/{phone.uptime_ms}"
    clocks = {"decided_at": phone.world.clock.now_ms(), "boot_id": "boot", "uptime_ms": phone.uptime_ms}
    return phone.fact(purpose, granted, cites, fact_id=name, **clocks)


def all_purposes(phone, granted=True, cites=0):
    return tuple(decided(phone, granted, cites, purpose) for purpose in Purpose)


def erase(world, name):
    journal = ErasureJournal(Path(world.settings.erasure_journal))
    with take_turn(world.store) as turn:
        person_id = find(turn.connection, turn.keys, [name])[name].person_id
        return erasure.erase(turn, journal, world.store.generation, person_id, "staff of the tests")


class TestHardCase8:
    """Opt-out on one phone; another comes back after three weeks with an older opt-in; people with different consent
    merge in mid-batch."""

    def test_an_opt_out_stands_against_an_older_opt_in_that_comes_three_weeks_later(self, world):
        phone, away = world.phone(), world.phone()
        for one in (phone, away):
            one.log_in("login:ada", purposes=())
        opted_in = all_purposes(away)
        bought_away = [away.event("while away")]
        phone.sync(consents=all_purposes(phone))
        world.pass_hours(1)
        phone.sync(phone.event("milk"), consents=all_purposes(phone, granted=False, cites=1))
        world.pass_hours(THREE_WEEKS)
        bought_away.append(away.event("the day it came back"))
        assert kinds(away.sync(*bought_away, consents=opted_in)) == [REFUSED, REFUSED]
        assert kinds(phone.sync(phone.event())) == [REFUSED]
        assert census.count_events(world.store) == 0

    def test_once_they_opt_in_again_what_was_made_in_between_stays_out(self, world):
        phone, away = world.phone(), world.phone()
        for one in (phone, away):
            one.log_in("login:ada", purposes=())
        phone.sync(consents=all_purposes(phone))
        world.pass_hours(1)
        allowed = away.event("allowed")
        world.pass_hours(1)
        phone.sync(consents=all_purposes(phone, granted=False, cites=1))
        world.pass_hours(THREE_WEEKS)
        between = away.event("between")
        world.pass_hours(1)
        phone.sync(consents=all_purposes(phone, cites=2))
        world.pass_hours(1)
        after = away.event("after")
        assert kinds(away.sync(allowed, between, after)) == [ACCEPTED, REFUSED, ACCEPTED]
        assert set(census.profile(world.store, "login:ada").items) == {"allowed", "after"}

    def test_people_who_become_one_in_mid_batch_get_the_strictest_of_both(self, world):
        phone, till = world.phone(), world.till()
        phone.log_in("login:ada", purposes=())
        till.owner = "card:1"
        till.sync(consents=all_purposes(till))
        phone.sync(consents=tuple(one for one in all_purposes(phone) if one.purpose is Purpose.ANALYTICS))
        phone.sync(consents=(decided(phone, False, 0, Purpose.PERSONALIZATION),))
        world.pass_hours(1)
        before, both = till.event("before"), till.event("both")
        till.sync(before)
        mine = phone.event("mine")
        linked = (world.provider.token("login:ada", "card:1"),)
        assert kinds(phone.sync(mine, owner="login:ada", identity_tokens=linked)) == [ACCEPTED]  # for analytics
        assert kinds(till.sync(both)) == [ACCEPTED]
        told = phone.sync(owner="login:ada").profile
        assert told.items == {}
        assert not told.consents[Purpose.PERSONALIZATION].granted
        assert told.consents[Purpose.ANALYTICS].granted
        till.sync(
            consents=(decided(till, False, 1, Purpose.ANALYTICS), decided(till, False, 1, Purpose.MODEL_TRAINING))
        )
        assert kinds(phone.sync(phone.event())) == [REFUSED]


class Backup:
    """A copy of a world's store, and its return."""

    def __init__(self, world, folder):
        self.world, self.file, self.url = world, folder / "backup", make_url(world.settings.database_url)
        if self.url.drivername == "sqlite":
            with closing(sqlite3.connect(self.url.database)) as source, closing(sqlite3.connect(self.file)) as copy:
                source.backup(copy)
        else:
            self._copy_database(self.url.database, f"{self.url.database}_backup")

    def restore(self):
        """Put it back, and open the store."""
        self.world.store.close()
        if self.url.drivername == "sqlite":
            for suffix in ("", "-wal", "-shm"):
                Path(self.url.database + suffix).unlink(missing_ok=True)
            shutil.copy(self.file, self.url.database)
        else:
            self._copy_database(f"{self.url.database}_backup", self.url.database)
        self.world.open_again()
        return self.world.store

    def _copy_database(self, source, copy):
        self.world.store.close()  # PostgreSQL copies a database that nobody is connected to
        server = self.url.set(database="postgres").render_as_string(hide_password=False)
        with psycopg.connect(server, autocommit=True) as connection:
            # Backends outlive their connection by a moment, and autovacuum may be at work.
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (source,))
            connection.execute(f'DROP DATABASE IF EXISTS "{copy}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{source}"')


@pytest.fixture
def take_backup(world, tmp_path):
    return lambda: Backup(world, tmp_path)


class TestHardCase9:
    """Erasure, then a late upload, a restored backup, a concurrent export."""

    @pytest.fixture
    def ada(self, world):
        ada = world.phone()
        ada.log_in("login:ada", "card:1", purposes=())
        ada.sync(consents=all_purposes(ada))
        ada.sync(ada.event("milk"), ada.event("bread"))
        return ada

    @pytest.fixture
    def bob(self, world):
        bob = world.phone()
        bob.log_in("login:bob", purposes=())
        bob.sync(consents=all_purposes(bob))
        return bob

    def test_a_late_upload_brings_nothing_back(self, world, ada):
        world.pass_hours(1)
        late = [ada.event("late"), ada.event("of the card", owner="card:1")]
        world.pass_hours(1)
        erase(world, "login:ada")
        world.pass_hours(THREE_WEEKS)
        token = (world.provider.token("login:ada", "card:1"),)
        assert kinds(ada.sync(*late, identity_tokens=token, consents=all_purposes(ada))) == [REFUSED, REFUSED]
        assert census.count_events(world.store) == 0
        assert kinds(ada.sync(ada.event("a fresh start"), identity_tokens=token)) == [ACCEPTED]

    def test_yesterday_s_backup_brings_nobody_back_and_loses_nothing_that_was_acknowledged(
        self, world, ada, bob, take_backup
    ):
        journal = ErasureJournal(Path(world.settings.erasure_journal))
        recovery.make_ready(world.store, journal)
        bob.sync(bob.event("yesterday"))
        backup = take_backup()
        world.pass_hours(1)
        since = [bob.event(f"today {number}") for number in range(5)]
        assert kinds(bob.sync(*since)) == [ACCEPTED] * 5
        late = ada.event("late")
        erase(world, "card:1")
        recovery.note_end(world.store, journal)
        before = world.store.generation
        world.pass_hours(1)

        store = backup.restore()
        assert census.profile(store, "login:ada").items.keys() == {"milk", "bread"}  # as it was yesterday
        recovery.make_ready(store, journal)
        assert store.generation != before
        assert census.profile(store, "login:ada").items == {}
        with store.read() as connection:
            left = [repr(tuple(row)) for row in connection.execute(select(tables.events))]
            assert find(connection, store.keys, ["login:ada", "card:1"]) == {}
        assert not [row for row in left if "milk" in row or "bread" in row]
        assert audit_log.verify(store).number > 0

        answer = bob.sync(*since)  # as the new generation tells phones to do
        assert answer.generation == store.generation
        assert kinds(answer) == [ACCEPTED] * 5
        token = (world.provider.token("login:ada", "card:1"),)
        assert kinds(ada.sync(late, identity_tokens=token)) == [REFUSED]
        assert census.profile(store, "login:bob").items.keys() == {"yesterday", *(f"today {n}" for n in range(5))}

    @pytest.mark.parametrize("command", ["restored", "serve"])
    def test_what_a_backup_brought_back_is_told_outward_again(
        self, world, ada, take_backup, tmp_path, monkeypatch, command
    ):
        recovery.make_ready(world.store, ErasureJournal(Path(world.settings.erasure_journal)))
        backup = take_backup()
        world.pass_hours(1)
        erase(world, "login:ada")
        store = backup.restore()
        settings = msgspec.structs.replace(world.settings, broker="nats://127.0.0.1:4222")
        if command == "restored":
            (tmp_path / "settings.json").write_bytes(msgspec.json.encode(settings))
            monkeypatch.setattr("sys.argv", ["sync_server", "--settings", str(tmp_path / "settings.json"), command])
            assert operate() == 0
        else:
            with pytest.raises(ConfigError, match="cannot be bound"):
                serve(settings, host=NOBODYS)
        with store.read() as connection:
            assert outbox.waiting(connection, 0).messages == 1

    def test_a_restored_backup_is_found_out_by_the_journal_or_told_by_the_operator(self, world, bob, take_backup):
        journal = ErasureJournal(Path(world.settings.erasure_journal))
        first = recovery.make_ready(world.store, journal)
        assert recovery.make_ready(world.store, journal) == first  # a start is no restoration
        backup = take_backup()
        bob.sync(bob.event())  # then the machine dies: nothing tells the journal
        store = backup.restore()
        assert recovery.make_ready(store, journal) == first
        assert recovery.make_ready(store, journal, restored=True) != first
        bob.sync(bob.event())
        recovery.note_end(store, journal)
        second = store.generation
        assert recovery.make_ready(backup.restore(), journal) not in (first, second)

    def test_an_export_that_runs_meanwhile_holds_them_no_more(self, world, ada, bob, tmp_path):
        bob.sync(bob.event("coffee"))
        file = tmp_path / "events.csv"
        draft = training_export.collect(world.store, file)
        assert "milk" in draft.path.read_text()
        erase(world, "login:ada")
        assert training_export.publish(world.store, draft, file, "operator") == 1
        assert "coffee" in file.read_text()
        assert "milk" not in file.read_text()
        with take_turn(world.store) as turn:
            person_id = find(turn.connection, turn.keys, ["login:bob"])["login:bob"].person_id
            assert len(person_export.export(turn, person_id, "staff of the tests").events) == 1
