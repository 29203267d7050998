"""What every store must do. A further database joins by subclassing `StoreContract` with an address of its own."""

import sqlite3
import threading
from contextlib import suppress

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, insert, select
from sqlalchemy.exc import DatabaseError, IntegrityError

from contracts.errors import ConfigError
from sync_server import tables
from sync_server.bulk import insert_rows, rows_at, rows_beyond, update_rows
from sync_server.identifiers import IdentifierKeys
from sync_server.sql_store import BUSY_PAUSE_S, open_store
from sync_server.turn import take_turn

KEYS = IdentifierKeys({1: bytes(32)})
QUARANTINED = {"device_id": "d", "payload_hash": b"h", "reason": "first", "received_at": 1}


def reasons(store):
    with store.read() as connection:
        return connection.execute(select(tables.quarantine.c.reason)).scalars().all()


class StoreContract:
    """Whoever inherits it gives the fixture `database_url`, of a database with nothing in it."""

    @pytest.fixture
    def store(self, database_url):
        store = open_store(database_url)
        yield store
        store.close()

    def test_what_a_write_did_is_there_for_others(self, store, database_url):
        with store.write() as connection:
            connection.execute(insert(tables.quarantine), QUARANTINED)
        other = open_store(database_url)
        assert reasons(other) == ["first"]
        other.close()

    def test_a_write_that_raises_did_nothing(self, store):
        with pytest.raises(IntegrityError), store.write() as connection:
            connection.execute(insert(tables.quarantine), [QUARANTINED, QUARANTINED])
        assert reasons(store) == []

    def test_reading_sees_one_moment_and_never_writes(self, store):
        with store.read() as reader:
            assert reader.execute(select(tables.quarantine.c.reason)).all() == []
            with store.write() as connection:
                connection.execute(insert(tables.quarantine), QUARANTINED)
            assert reader.execute(select(tables.quarantine.c.reason)).all() == []
        with suppress(DatabaseError), store.read() as reader:  # refused, or forgotten at the block's end
            reader.execute(insert(tables.quarantine), QUARANTINED | {"device_id": "other"})
        assert reasons(store) == ["first"]

    def test_writers_take_turns_and_stamps_are_committed_in_order(self, store, database_url):
        """What a writer has read is still so when it writes, also if the other writer is another process."""
        committed, lock = [], threading.Lock()

        def count(of):
            for _ in range(20):
                with take_turn(of) as turn:
                    assert turn.connection.execute(select(tables.store.c.changes)).scalar_one() == turn.stamp
                    with lock:
                        committed.append(turn.stamp)

        other = open_store(database_url)
        threads = [threading.Thread(target=count, args=(one,)) for one in (store, store, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        other.close()
        assert committed == list(range(1, 61))

    def test_a_generation_lasts_as_long_as_the_store(self, store, database_url, tmp_path):
        again = open_store(database_url)
        assert again.generation == store.generation
        again.close()

    def test_a_row_that_is_there_is_replaced_or_kept_as_asked(self, store):
        with store.write() as connection:
            insert_rows(connection, tables.quarantine, [QUARANTINED], "replace")
            insert_rows(connection, tables.quarantine, [QUARANTINED | {"reason": "second"}], "keep")
        assert reasons(store) == ["first"]
        with store.write() as connection:
            insert_rows(connection, tables.quarantine, [QUARANTINED | {"reason": "third"}], "replace")
            insert_rows(connection, tables.quarantine, [])
        assert reasons(store) == ["third"]

    def test_the_migrations_make_the_schema_that_the_code_expects(self, store):
        with store.read() as connection:
            assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []

    def test_rows_come_back_as_they_were_inserted(self, store):
        rows = [
            {
                "owner_id": 2**40 + owner,
                "item_id": item,
                "weights": '[[1,"\\u00e9"]]',
                "last_hour": -1,
                "event": 9,
                "stamp": stamp,
            }
            for stamp, (owner, item) in enumerate([(1, "a'b"), (1, 'c"\\d'), (2, "%s ? :x"), (2, "\N{SNOWMAN}")])
        ]
        with store.write() as connection:
            owners = [
                {
                    "id": 2**40 + owner,
                    "kind": "card",
                    "key_version": 1,
                    "digest": f"{owner:064}",
                    "handle": f"{owner:032}",
                    "person_id": owner,
                    "stamp": 0,
                    "profile_stamp": 0,
                }
                for owner in (1, 2)
            ]
            insert_rows(connection, tables.owners, owners)
            insert_rows(connection, tables.item_activities, rows)
        keys = [(row["owner_id"], row["item_id"]) for row in rows]
        with store.read() as connection:
            whole = rows_at(connection, tables.item_activities, ("owner_id", "item_id"), [*keys, (7, "nobody's")])
            newer = rows_beyond(connection, tables.item_activities, "stamp", [(2**40 + 1, 0), (2**40 + 2, 2)])
            nothing = rows_at(connection, tables.item_activities, ("owner_id",), [])
        assert sorted(map(tuple, whole)) == sorted(tuple(row.values()) for row in rows)
        assert sorted(row.stamp for row in newer) == [1, 3]
        assert nothing == []

    def test_rows_are_updated_by_their_key_and_bytes_stay_bytes(self, store):
        other = QUARANTINED | {"payload_hash": bytes(range(32))}
        with store.write() as connection:
            insert_rows(connection, tables.quarantine, [QUARANTINED, other])
            update_rows(connection, tables.quarantine, [other | {"reason": "second"}])
        with store.read() as connection:
            found = {row.payload_hash: row.reason for row in connection.execute(select(tables.quarantine))}
        assert found == {b"h": "first", bytes(range(32)): "second"}

    def test_a_store_of_the_first_schema_learns_when_summaries_changed(self, database_url):
        engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            config = Config()
            config.set_main_option("script_location", "sync_server:migrations")
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            for owner, stamp in ((1, 3), (2, 4), (3, 5)):
                text = f"INSERT INTO owners (id, owner, person_id, stamp) VALUES ({owner}, 'card:{owner}', 1, {stamp})"
                connection.exec_driver_sql(text)
            connection.exec_driver_sql("INSERT INTO item_activities VALUES (1, 'milk', '[]', 0, 9, 7)")
            connection.exec_driver_sql("INSERT INTO order_lines VALUES (1, 'o', 'milk', 0, 1, 1, FALSE, 8)")
            connection.exec_driver_sql("INSERT INTO consents VALUES (2, 'analytics', 1, TRUE, 9)")
        engine.dispose()
        store = open_store(database_url, keys=KEYS)
        with store.read() as connection:
            rows = connection.execute(select(tables.owners).order_by(tables.owners.c.id)).all()
        store.close()
        assert [(row.stamp, row.profile_stamp) for row in rows] == [(3, 8), (9, 0), (5, 0)]


class TestPostgresql(StoreContract):
    @pytest.fixture
    def database_url(self, postgresql):
        return postgresql()

    def test_commits_are_on_the_disk_before_they_are_acknowledged(self, store):
        with store.write() as connection:
            for setting in ("fsync", "synchronous_commit"):
                assert connection.exec_driver_sql(f"SHOW {setting}").scalar() == "on"

    def test_a_server_that_is_not_there_is_named_without_its_password(self, unused_tcp_port):
        with pytest.raises(ConfigError, match="cannot be opened") as caught:
            open_store(f"postgresql://me:secret@127.0.0.1:{unused_tcp_port}/shop")
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)


class TestSqlite(StoreContract):
    @pytest.fixture
    def database_url(self, tmp_path):
        return f"sqlite:///{tmp_path / 'sync.sqlite'}"

    def test_commits_are_on_the_disk_before_they_are_acknowledged(self, store):
        with store.write() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL

    def test_a_new_file_that_another_worker_prepares_is_waited_for(self, tmp_path):
        """SQLite itself would not wait: both hold a read lock, and each would have to see the other's gone."""
        path = tmp_path / "sync.sqlite"
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        done = threading.Timer(5 * BUSY_PAUSE_S, other.execute, ("COMMIT",))
        done.start()
        open_store(f"sqlite:///{path}").close()
        done.join()
        other.close()

    def test_a_damaged_file_is_not_overwritten(self, tmp_path):
        path = tmp_path / "sync.sqlite"
        path.write_bytes(b"this is no database" * 100)
        with pytest.raises(ConfigError, match="cannot be opened"):
            open_store(f"sqlite:///{path}")
        assert path.read_bytes() == b"this is no database" * 100

    def test_what_is_no_file_of_sqlite_is_refused(self):
        for address in ("", "sqlite://", "sqlite:///:memory:", "mysql://host/name"):
            with pytest.raises(ConfigError, match="sqlite:///"):
                open_store(address)
