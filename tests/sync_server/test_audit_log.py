"""The audit log: append-only, chained, and whatever is changed in it is found and named."""

import hashlib
import json
import subprocess
import sys
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import DatabaseError

from contracts.errors import CheckFailed, ConfigError
from sync_server import audit_log
from sync_server.audit_log import Entry, Head
from sync_server.tables import audit_log as table
from sync_server.turn import take_turn

ENTRIES = [
    Entry("staff ada", "look_up", "a" * 32),
    Entry("device 1", "erase", "b" * 32, {"events": 3}),
    Entry("operator", "restored", "", {"why": "\N{SNOWMAN}"}),
]


def write(world, *entries):
    with take_turn(world.store) as turn:
        audit_log.record_all(turn, entries)


def tamper(world, change):
    """As somebody would who may do everything in the database."""
    with world.store.write() as connection:
        if connection.dialect.name == "sqlite":
            connection.execute(text("DROP TRIGGER IF EXISTS audit_log_no_UPDATE"))
            connection.execute(text("DROP TRIGGER IF EXISTS audit_log_no_DELETE"))
        else:
            connection.execute(text("ALTER TABLE audit_log DISABLE TRIGGER ALL"))
        connection.execute(change)


def test_rows_are_chained_by_their_canonical_json(world):
    write(world, ENTRIES[0])
    world.pass_hours(1)
    write(world, *ENTRIES[1:])
    with world.store.read() as connection:
        rows = connection.execute(select(table).order_by(table.c.number)).all()
    assert [row.number for row in rows] == [1, 2, 3]
    previous = bytes(32)
    for row, entry in zip(rows, ENTRIES, strict=True):
        fields = {name: value for name, value in row._mapping.items() if name != "hash"}
        assert (row.actor, row.action, row.handle, json.loads(row.detail)) == tuple(vars(entry).values())
        canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        previous = hashlib.sha256(previous + canonical.encode()).digest()
        assert row.hash == previous
    assert audit_log.verify(world.store) == Head(3, previous)


def test_a_transaction_that_fails_leaves_no_entry(world):
    write(world, ENTRIES[0])
    with suppress(RuntimeError), take_turn(world.store) as turn:
        audit_log.record(turn, "staff ada", "erase", "a" * 32)
        raise RuntimeError
    assert audit_log.verify(world.store).number == 1


@pytest.mark.parametrize("change", [update(table).values(actor="nobody"), delete(table)])
def test_the_database_refuses_to_change_or_delete_rows(world, change):
    write(world, *ENTRIES)
    with pytest.raises(DatabaseError, match="append-only"), world.store.write() as connection:
        connection.execute(change)
    assert audit_log.verify(world.store).number == 3


@pytest.mark.parametrize("column", ["at", "actor", "action", "handle", "detail", "hash"])
def test_a_changed_row_is_named(world, column):
    write(world, *ENTRIES)
    values = {"at": 1, "hash": bytes(32)}.get(column, '"x"')
    tamper(world, update(table).where(table.c.number == 2).values({column: values}))
    with pytest.raises(CheckFailed, match="audit row 2 is not as it was written"):
        audit_log.verify(world.store)


def test_a_row_taken_out_is_named_and_a_tail_cut_off_is_found_by_a_noted_head(world):
    write(world, *ENTRIES)
    noted = audit_log.verify(world.store)
    assert audit_log.verify(world.store, audit_log.read_head(str(noted))) == noted
    tamper(world, delete(table).where(table.c.number == 3))
    assert audit_log.verify(world.store).number == 2
    with pytest.raises(CheckFailed, match="noted head"):
        audit_log.verify(world.store, noted)
    write(world, Entry("operator", "restored", "", "another third row"))
    with pytest.raises(CheckFailed, match="noted head"):
        audit_log.verify(world.store, noted)
    tamper(world, delete(table).where(table.c.number == 1))
    with pytest.raises(CheckFailed, match="audit row 1 is missing"):
        audit_log.verify(world.store)


def test_entries_about_somebody_are_found_by_handle(world):
    write(world, *ENTRIES, ENTRIES[0])
    with world.store.read() as connection:
        found = audit_log.entries_about(connection, {"a" * 32})
    assert [(entry["number"], entry["action"]) for entry in found] == [(1, "look_up"), (4, "look_up")]


@given(st.integers(0, 2**40), st.binary(min_size=32, max_size=32))
def test_a_head_is_read_as_it_is_printed(number, digest):
    assert audit_log.read_head(str(Head(number, digest))) == Head(number, digest)


@pytest.mark.parametrize("text", ["", "3", "x:00", "3:00", "-1:" + "0" * 64, "3:" + "g" * 64])
def test_what_is_no_head_is_refused(text):
    with pytest.raises(ConfigError, match="no head"):
        audit_log.read_head(text)


def test_the_command_checks_the_log_and_prints_its_head(world, tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_bytes(msgspec.json.encode(world.settings))

    def run(*options):
        command = [sys.executable, "-m", "sync_server", "--settings", str(settings), "audit", *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    write(world, *ENTRIES)
    printed = run()
    assert (printed.returncode, printed.stdout) == (0, f"{audit_log.verify(world.store)}\n")
    assert run("--noted", printed.stdout.strip()).returncode == 0
    assert run("--noted", "nonsense").returncode == 2
    tamper(world, update(table).where(table.c.number == 2).values(handle="c" * 32))
    broken = run()
    assert (broken.returncode, broken.stdout) == (1, "")
    assert "audit row 2" in broken.stderr
