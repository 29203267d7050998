"""The hard cases that a sync server must survive with nothing lost and nothing counted twice, each by its name.

The eighth (consent), the ninth (erasure) and the tenth (bundles) have files of their own:
`test_hard_cases_consent.py` and `test_hard_cases_bundles.py`.
"""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import msgspec
import pytest
import zstandard
from sqlalchemy import Engine, event, select
from sqlalchemy.exc import DBAPIError

from contracts import codec
from contracts.errors import LimitError, WireError
from contracts.events import Event, EventType
from contracts.summary import HOUR_MS, summarize
from contracts.sync import Dropped, SeqRange, SyncRequest, SyncResponse, VerdictKind
from sync_server import census
from sync_server.damaged import read_request
from sync_server.received import payload_hash
from sync_server.sql_store import open_store
from sync_server.sync import sync
from sync_server.tables import dropped_ranges, events
from sync_server.wire import decompress

ACCEPTED, DUPLICATE, CONFLICT = VerdictKind.ACCEPTED, VerdictKind.DUPLICATE, VerdictKind.CONFLICT
QUARANTINED, REFUSED = VerdictKind.QUARANTINED, VerdictKind.REFUSED
DAY_MS = 24 * HOUR_MS


def kinds(response: SyncResponse) -> list[VerdictKind]:
    return [verdict.kind for verdict in response.verdicts]


@pytest.fixture
def phone(world):
    phone = world.phone()
    phone.log_in("login:ada")
    return phone


def assert_counted_once(world, created: list[Event], hour: int | None = None) -> None:
    """What is held, and Ada's profile, are exactly what was created; in one hour."""
    assert census.accepted_events(world.store) == {one.key: payload_hash(one) for one in created}
    if hour is not None:
        assert census.profile(world.store, "login:ada") == summarize((one, hour) for one in created)


def test_1_the_answer_is_lost_and_the_phone_replays_in_other_chunks_another_order_and_a_truncated_body(world, phone):
    created = [phone.event(f"item-{number % 5}") for number in range(20)]
    hour = world.clock.now_ms() // HOUR_MS
    phone.sync(*created[:12])  # nobody hears the answer
    body = zstandard.compress(codec.encode(phone.request(*created)))
    for length in (0, 1, len(body) // 2, len(body) - 1):
        with pytest.raises(WireError):
            codec.decode(decompress(body[:length], "zstd", 2**20), SyncRequest)
    assert kinds(phone.sync(*reversed(created[8:15]))) == [ACCEPTED] * 3 + [DUPLICATE] * 4
    for start in (15, 10, 0, 5):
        phone.sync(*created[start : start + 5], format="application/msgpack")
    assert kinds(phone.sync(*created)) == [DUPLICATE] * 20
    assert_counted_once(world, created, hour)


class Disaster:
    """Strikes before one statement of the next transactions."""

    def __init__(self, strike: Callable[[Any], None]) -> None:
        self._strike, self.at, self.seen = strike, -1, 0

    def before(self, connection: Any, cursor: Any, *_: object) -> None:
        if self.seen == self.at:
            self._strike(connection)
        self.seen += 1


@contextmanager
def disaster(strike: Callable[[Any], None]) -> Iterator[Disaster]:
    one = Disaster(strike)
    event.listen(Engine, "before_cursor_execute", one.before)
    try:
        yield one
    finally:
        event.remove(Engine, "before_cursor_execute", one.before)


def break_connection(connection: Any) -> None:
    """The database goes away under the server: what a restart of either looks like to the other."""
    if connection.dialect.name == "sqlite":
        connection.connection.dbapi_connection.close()
        return
    import psycopg

    raw = connection.connection.dbapi_connection
    with psycopg.connect(raw.info.dsn, password=raw.info.password, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (raw.info.backend_pid,))


def test_2_the_database_goes_away_between_any_two_steps(world, phone):
    hour = world.clock.now_ms() // HOUR_MS
    created: list[Event] = []
    with disaster(break_connection) as struck:
        for step in count():
            event = phone.event(f"item-{step % 3}")
            struck.at, struck.seen = step, 0
            try:
                assert kinds(phone.sync(event)) == [ACCEPTED]
            except DBAPIError:
                struck.at = -1
                assert_counted_once(world, created)
                assert kinds(phone.sync(event)) == [ACCEPTED]
                created.append(event)
                continue
            created.append(event)
            if struck.seen <= step:  # the transaction has no such step: each of them has been struck
                break
    assert len(created) > 10
    assert_counted_once(world, created, hour)


@contextmanager
def full_disk(world) -> Iterator[None]:
    """No table grows any more."""
    with world.store.write() as connection:
        if connection.dialect.name == "sqlite":
            limit = f"PRAGMA max_page_count = {connection.exec_driver_sql('PRAGMA page_count').scalar_one()}"
            no_limit = "PRAGMA max_page_count = 1073741823"
        else:  # PostgreSQL's own error of a full disk, from where it would come
            connection.exec_driver_sql(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "RAISE 'could not extend file: no space left on device' USING ERRCODE = 'disk_full'; END $$"
            )
            limit = "CREATE TRIGGER full_disk BEFORE INSERT ON events EXECUTE FUNCTION full_disk()"
            no_limit = "DROP TRIGGER full_disk ON events"
        connection.exec_driver_sql(limit)
    try:
        yield
    finally:
        with world.store.write() as connection:
            connection.exec_driver_sql(no_limit)


def test_2_the_disk_is_full(world, phone):
    hour = world.clock.now_ms() // HOUR_MS
    created = [phone.event(f"item-{number}") for number in range(400)]
    with full_disk(world):
        for _ in range(2):
            with pytest.raises(DBAPIError, match=r"full|no space"):
                phone.sync(*created)
        assert census.count_events(world.store) == 0
    assert kinds(phone.sync(*created)) == [ACCEPTED] * 400
    assert_counted_once(world, created, hour)


def test_3_a_duplicate_after_45_days(world, phone):
    event = phone.event()
    hour = world.clock.now_ms() // HOUR_MS
    phone.sync(event)
    world.clock.time_ms += 45 * DAY_MS
    assert kinds(phone.sync(event)) == [DUPLICATE]
    assert_counted_once(world, [event], hour)


def test_3_a_duplicate_on_two_workers_at_once(world, phone):
    created = [phone.event(f"item-{number % 3}") for number in range(30)]
    hour = world.clock.now_ms() // HOUR_MS
    request = phone.request(*created)
    workers = [open_store(world.settings.database_url, world.clock, world.settings.keys) for _ in range(2)]
    together, answers = threading.Barrier(2), []

    def work(store) -> None:
        together.wait(30)
        answers.append(sync(store, world.settings, phone.device_id, request, "application/json"))

    threads = [threading.Thread(target=work, args=(store,)) for store in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for store in workers:
        store.close()
    assert sorted(map(kinds, answers)) == [[ACCEPTED] * 30, [DUPLICATE] * 30]
    assert_counted_once(world, created, hour)


def test_3_the_same_id_with_another_payload(world, phone):
    event = phone.event("milk")
    other = msgspec.structs.replace(event, item_id="bread")
    hour = world.clock.now_ms() // HOUR_MS
    assert kinds(phone.sync(event, other)) == [ACCEPTED, CONFLICT]
    world.clock.time_ms += 45 * DAY_MS
    answer = phone.sync(other)
    assert kinds(answer) == [CONFLICT]
    assert answer.epoch > other.epoch
    assert_counted_once(world, [event], hour)


def test_4_a_clock_at_1970_or_2038_stepped_in_mid_batch_and_a_stall_of_30_seconds(world, phone):
    true_ms, created = {}, []
    for wall in (0, 2**31 * 1000, world.clock.now_ms(), -1, 2**53):
        created.append(phone.event(f"item-{len(created)}", occurred_at=wall))
        true_ms[created[-1].seq] = world.clock.now_ms()
        world.clock.time_ms += 7 * HOUR_MS
    request = phone.request(*created, sent_at=0)
    world.clock.time_ms += 30_000
    answer = world.wire.sync(phone.device_id, request, "application/json")
    assert kinds(answer) == [ACCEPTED] * 5
    with world.store.read() as connection:
        rows = connection.execute(select(events.c.seq, events.c.occurred_ms, events.c.uncertain)).all()
    assert {row.seq: row.occurred_ms - true_ms[row.seq] for row in rows} == {one.seq: 15_000 for one in created}
    assert not any(row.uncertain for row in rows)


GOOD = 499
DEEP = 5_000


@pytest.mark.parametrize(
    ("poison", "format"),
    [
        (b'{"item_id": NaN}', "application/json"),
        (b'{"item_id": "\xff\xfe"}', "application/json"),
        (b'{"item_id": "\\ud800"}', "application/json"),
        (b'{"item_id": "\x01"}', "application/json"),
        (b"[" * DEEP + b"]" * DEEP, "application/json"),
        (b'{"type": "teleported"}', "application/json"),
        (msgspec.msgpack.encode({"quantity": float("nan")}), "application/msgpack"),
        (b"\x81\xa7item_id\xa2\xff\xfe", "application/msgpack"),
        (b"\x91" * DEEP + b"\xc0", "application/msgpack"),
        (msgspec.msgpack.encode({"type": "teleported"}), "application/msgpack"),
    ],
    ids=lambda value: value[:12].decode("ascii", "replace") if isinstance(value, bytes) else value,
)
def test_5_one_poison_event_among_500(world, phone, poison, format):
    created = [phone.event(f"item-{number % 7}") for number in range(GOOD)]
    raw = [msgspec.Raw(codec.encode(one, format)) for one in created]
    request = phone.request(*raw[:250], msgspec.Raw(poison), *raw[250:], format=format)
    read = read_request(codec.encode(request, format), format)
    answer = world.wire.sync(phone.device_id, read, format)
    assert kinds(answer) == [ACCEPTED] * 250 + [QUARANTINED] + [ACCEPTED] * 249
    assert_counted_once(world, created)


def test_5_a_poison_event_whose_key_can_be_read_leaves_no_gap(world, phone):
    broken = codec.encode(phone.event()).replace(b'"quantity":1', b"").replace(b'"price":', b'"nan":NaN,"price":')
    request = phone.request(msgspec.Raw(broken), phone.event())
    answer = world.wire.sync(
        phone.device_id, read_request(codec.encode(request), "application/json"), "application/json"
    )
    assert kinds(answer) == [QUARANTINED, ACCEPTED]
    assert (answer.watermark, answer.gaps) == (1, ())
    assert "NaN" in answer.verdicts[0].reason or "malformed" in answer.verdicts[0].reason


def test_5_a_decompression_bomb(world, phone):
    for encoding, bomb in (("zstd", zstandard.compress(bytes(2**26))), ("gzip", gzip.compress(bytes(2**26)))):
        with pytest.raises(LimitError, match="max_decoded_bytes"):
            decompress(bomb, encoding, world.settings.max_decoded_bytes)


def test_6_a_phone_restored_from_a_backup(world, phone):
    kept = [phone.event(f"item-{number}") for number in range(5)]
    phone.sync(*kept)
    backup = phone.seq
    lost = [phone.event("lost") for _ in range(3)]
    phone.sync(*lost)  # the server has them; the backup has not
    phone.seq = backup
    after = [phone.event("after") for _ in range(4)]
    answer = phone.sync(*after)
    assert kinds(answer) == [CONFLICT] * 3 + [ACCEPTED]
    renumbered = [msgspec.structs.replace(one, epoch=answer.epoch, seq=seq) for seq, one in enumerate(after[:3])]
    again = phone.sync(*renumbered, epoch=answer.epoch)
    assert kinds(again) == [ACCEPTED] * 3
    assert (again.watermark, again.gaps) == (2, ())
    assert_counted_once(world, [*kept, *lost, *renumbered, after[3]], world.clock.now_ms() // HOUR_MS)


def test_6_a_phone_that_was_cloned(world, phone):
    both = [phone.event(f"item-{number}") for number in range(5)]
    mine, clones = phone.event("mine"), phone.event("clone's", seq=5)
    assert kinds(phone.sync(*both, mine)) == [ACCEPTED] * 6
    answer = phone.sync(*both, clones)
    assert kinds(answer) == [DUPLICATE] * 5 + [CONFLICT]
    renumbered = msgspec.structs.replace(clones, epoch=answer.epoch, seq=0)
    assert kinds(phone.sync(renumbered, epoch=answer.epoch)) == [ACCEPTED]
    assert_counted_once(world, [*both, mine, renumbered], world.clock.now_ms() // HOUR_MS)


def test_6_a_cache_overflowed_and_gaps_are_recorded_and_reported(world, phone):
    created = [phone.event(type=EventType.IMPRESSION if number % 2 else EventType.PURCHASE) for number in range(10)]
    given_up = Dropped(range=SeqRange(3, 3), counts={EventType.IMPRESSION: 1})
    lost = (SeqRange(1, 1), SeqRange(7, 7))
    answer = phone.sync(*created[::2], created[9], held=(SeqRange(5, 5),), dropped=(given_up,))
    assert (answer.watermark, answer.gaps) == (0, lost)
    answer = phone.sync(created[5], dropped=(given_up,))
    assert (answer.watermark, answer.gaps) == (0, lost)
    with world.store.read() as connection:
        (row,) = connection.execute(select(dropped_ranges)).all()
    assert (row.first, row.last, json.loads(row.counts)) == (3, 3, {"impression": 1})
    assert kinds(phone.sync(created[1], created[7])) == [ACCEPTED] * 2  # they turn up after all
    assert phone.sync().watermark == 9


def test_7_two_people_on_a_tablet_stay_two(world):
    tablet = world.phone()
    for login in ("login:ada", "login:bob"):
        tablet.log_in(login)
        tablet.sync(tablet.event(login.removeprefix("login:")))
    assert set(census.profile(world.store, "login:ada").items) == {"ada"}
    assert set(census.profile(world.store, "login:bob").items) == {"bob"}
    told = tablet.sync(owner="login:bob", profile_version=tablet.sync(owner="login:ada").profile.version).profile
    assert (told.base_version, set(told.items)) == (0, {"bob"})  # nothing of the one stays for the other
    assert len(set(census.persons(world.store, ["login:ada", "login:bob"]).values())) == 2


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_7_concurrent_merges_of_a_and_b_b_and_c_c_and_a_then_late_events(world, order):
    pairs = [("login:a", "login:b"), ("login:b", "login:c"), ("login:c", "login:a")]
    phones = [world.phone() for _ in pairs]
    before = []
    for phone, (login, _) in zip(phones, pairs, strict=True):
        phone.log_in(login)
        before.append(phone.event(f"item-{login}"))
    late = [phone.event("late") for phone in phones]
    for place in order:  # each phone shows a token that joins two, with events of before
        login, other = pairs[place]
        phones[place].sync(before[place], identity_tokens=(world.provider.token(login, other),))
    for place in reversed(order):
        phones[place].sync(late[place], before[place])
    people = census.persons(world.store, ["login:a", "login:b", "login:c"])
    assert (len(people), len(set(people.values()))) == (3, 1)
    hour = world.clock.now_ms() // HOUR_MS
    expected = summarize((one, hour) for one in (*before, *late))
    assert [census.profile(world.store, login) for login, _ in pairs] == [expected] * 3
    assert census.count_events(world.store) == 6
