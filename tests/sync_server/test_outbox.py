"""The outbox: what is committed is told, in the order of the commits, and nothing else."""

import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.outbox import ConsentChanged, Erased, Merged, ProfileChanged, Unmerged, handles_of, kind_of
from sync_server import outbox, sql_store
from sync_server.outbox import Row
from sync_server.relay import waves
from sync_server.sql_store import open_store
from sync_server.tables import outbox as outbox_table
from sync_server.turn import Turn, take_turn


@pytest.fixture
def store(world):
    opened = open_store(world.settings.database_url, world.clock, world.settings.keys, publishes=True)
    yield opened
    opened.close()


def changed(turn, handle):
    return ProfileChanged(handle=handle, version=turn.stamp, at=turn.now_ms)


def tell(store, *handles):
    with take_turn(store) as turn:
        outbox.add(turn, [changed(turn, handle) for handle in handles])


def pending(store, limit=100):
    with store.read() as connection:
        return outbox.pending(connection, limit)


def mark(store, through):
    with store.write() as connection:
        outbox.mark_published(connection, through)


def test_a_message_is_there_if_its_transaction_is(store):
    with take_turn(store) as turn:
        outbox.add(turn, [changed(turn, "bob")])
        turn.connection.rollback()
    assert pending(store) == []
    with take_turn(store) as turn:
        outbox.add(turn, [changed(turn, "ada")])
        part = turn.connection.begin_nested()
        outbox.add(turn, [changed(turn, "bob")])
        part.rollback()
    assert [row.message for row in pending(store)] == [ProfileChanged(handle="ada", version=turn.stamp, at=turn.now_ms)]


def test_of_a_person_and_kind_the_last_one_is_written(store):
    with take_turn(store) as turn:
        consents = [
            ConsentChanged(handle="ada", version=turn.stamp, at=1, allows=allows) for allows in ((), ("analytics",))
        ]
        outbox.add(turn, [*consents, changed(turn, "ada"), changed(turn, "ada"), changed(turn, "bob")])
    told = [row.message for row in pending(store)]
    assert [(kind_of(one), one.handle) for one in told] == [
        ("consent_changed", "ada"),
        ("profile_changed", "ada"),
        ("profile_changed", "bob"),
    ]
    assert told[0].allows == ("analytics",)


def test_a_store_without_a_relay_writes_nothing(world):
    tell(world.store, "ada")
    assert pending(world.store) == []


def test_every_message_comes_back_as_it_was_written(store):
    told = {"handle": "ada", "version": 7, "at": 8}
    messages = [
        ProfileChanged(**told),
        Merged(**told, absorbed=("bob",)),
        Unmerged(**told, parts=("ada", "bob")),
        ConsentChanged(**told, allows=("analytics",)),
        Erased(**told, also=("eve",)),
    ]
    with store.write() as connection:
        outbox.add(Turn(connection, 8, 7, store.keys, 0), messages)
    assert [row.message for row in pending(store)] == messages
    assert [sorted(handles_of(message)) for message in messages] == [
        ["ada"],
        ["ada", "bob"],
        ["ada", "bob"],
        ["ada"],
        ["ada", "eve"],
    ]


def test_rows_are_pending_until_they_are_marked_and_the_mark_never_goes_back(store, world):
    tell(store, "ada", "bob")
    world.pass_hours(1)
    tell(store, "eve")
    first, second, third = pending(store)
    assert [row.handle for row in pending(store, limit=2)] == ["ada", "bob"]
    mark(store, second.id)
    mark(store, first.id)
    assert pending(store) == [third]
    with store.read() as connection:
        waiting = outbox.waiting(connection, world.clock.now_ms() + 5)
    assert (waiting.messages, waiting.oldest_ms) == (1, 5)
    mark(store, third.id)
    with store.read() as connection:
        assert outbox.waiting(connection, world.clock.now_ms()) == outbox.Waiting(0, 0)


def test_what_is_published_and_old_is_pruned_and_no_id_comes_again(store, world):
    tell(store, "ada", "bob")
    world.pass_hours(1)
    tell(store, "eve")
    ada, bob, eve = pending(store)
    now = world.clock.now_ms()
    with store.write() as connection:
        assert outbox.prune(connection, now + 1, 10) == 0  # nothing is published yet
        outbox.mark_published(connection, bob.id)
        assert outbox.prune(connection, now, 1) == 1
        assert outbox.prune(connection, now, 10) == 1
        assert outbox.prune(connection, now + 1, 10) == 0
        outbox.mark_published(connection, eve.id)
        assert outbox.prune(connection, now, 10) == 0
        assert outbox.prune(connection, now + 1, 10) == 1
    tell(store, "zoe")
    assert pending(store)[0].id > eve.id > bob.id > ada.id


def test_what_went_outward_is_listed_for_whom_is_asked(store, world):
    tell(store, "ada", "bob")
    world.pass_hours(1)
    later = world.clock.now_ms()
    tell(store, "ada", "eve")
    mark(store, pending(store)[0].id)
    with store.read() as connection:
        whole = outbox.published(connection, ["ada", "bob", "ada", "nobody"])
        newer = outbox.published(connection, ["ada", "bob"], since_ms=later)
    assert [(told.message.handle, told.acknowledged) for told in whole] == [
        ("ada", True),
        ("bob", False),
        ("ada", False),
    ]
    assert [(told.message.handle, told.message.at) for told in newer] == [("ada", later)]


def take_all(store, into):
    """What a relay does between two looks."""
    rows = pending(store)
    into += [row.handle for row in rows]
    if rows:
        mark(store, rows[-1].id)


def late_commit(store, between):
    """Two writers; the second comes while the first has written its message and not committed."""
    first_wrote, second_came, may_commit = threading.Event(), threading.Event(), threading.Event()

    def first():
        with store.write() as connection:
            turn = Turn(connection, store.now_ms(), 0, store.keys, 0)
            outbox.add(turn, [changed(turn, "first")])
            first_wrote.set()
            may_commit.wait(timeout=30)

    def second():
        second_came.set()
        with store.write() as connection:
            outbox.add(
                Turn(connection, store.now_ms(), 0, store.keys, 0), [ProfileChanged(handle="second", version=0, at=0)]
            )

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert first_wrote.wait(timeout=30)
    threads[1].start()
    assert second_came.wait(timeout=30)
    between(threads[1])
    may_commit.set()
    for thread in threads:
        thread.join(timeout=30)


def test_a_commit_that_comes_late_is_not_skipped(store):
    told = []
    late_commit(store, lambda _: take_all(store, told))
    take_all(store, told)
    assert told == ["first", "second"]


def test_without_turns_a_late_commit_would_be_skipped(postgresql, monkeypatch):
    """The mutant: what the test above would see, were writers not to take turns."""
    monkeypatch.setattr(sql_store, "_TAKE_TURN", sql_store.select(1))
    store = open_store(postgresql(), publishes=True)
    told = []

    def second_commits(thread):
        thread.join(timeout=30)
        take_all(store, told)

    late_commit(store, second_commits)
    take_all(store, told)
    store.close()
    assert told == ["second"]


MESSAGES = st.one_of(
    st.builds(ProfileChanged, handle=st.sampled_from("abcdef"), version=st.just(1), at=st.just(1)),
    st.builds(
        Merged,
        handle=st.sampled_from("abc"),
        version=st.just(1),
        at=st.just(1),
        absorbed=st.tuples(st.sampled_from("def")),
    ),
)


@given(st.lists(MESSAGES))
def test_within_a_wave_nobody_is_named_twice_and_nothing_is_lost(messages):
    rows = [Row(number, message.handle, outbox.encode(message).decode()) for number, message in enumerate(messages)]
    cut = waves(rows)
    assert [row for wave in cut for row in wave] == rows
    for wave in cut:
        named = [handle for row in wave for handle in handles_of(row.message)]
        assert wave
        assert len(named) == len(set(named))
    for one, other in pairwise(cut):  # and a wave ends only where it must
        named = {handle for row in one for handle in handles_of(row.message)}
        assert named & handles_of(other[0].message)


def test_messages_name_people_by_their_handle_alone():
    """A column of the outbox that held more would travel with every backup."""
    assert set(outbox_table.columns.keys()) == {"id", "handle", "created_at", "body"}
