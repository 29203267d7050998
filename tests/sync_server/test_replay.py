"""Events of newer apps: held, judged again once the server knows them, and then as if it had always done so."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event, select, update

from contracts import codec, summary
from contracts.consent import Purpose
from contracts.events import EVENT_CODES, Event, EventType, Money
from contracts.outbox import ProfileChanged
from contracts.sync import SyncRequest, VerdictKind
from sync_server import audit_log, census, erasure, outbox, received, replay, tables
from sync_server.damaged import read_request
from sync_server.erasure_journal import ErasureJournal
from sync_server.people import find
from sync_server.received import NEWER, at_rest, read_event
from sync_server.replay import Replayed
from sync_server.sql_store import open_store
from sync_server.turn import take_turn
from tests.contracts.wire_examples import DEVICE, LOGIN, SUFFIXES

ACCEPTED, DUPLICATE, CONFLICT = VerdictKind.ACCEPTED, VerdictKind.DUPLICATE, VerdictKind.CONFLICT
QUARANTINED, REFUSED = VerdictKind.QUARANTINED, VerdictKind.REFUSED
JSON, MESSAGEPACK = SUFFIXES
NEWER_APP = Path(__file__).parent / "newer_app"
WISH = "wishlist_added"
HELD_FIRST = [ACCEPTED, ACCEPTED, QUARANTINED, QUARANTINED, QUARANTINED]


def kinds(response):
    return [verdict.kind for verdict in response.verdicts]


class TaxedMoney(Money, frozen=True, omit_defaults=True):
    tax: int | None = None


def event_of_later(**options: bool) -> type[Event]:
    """The contract's event as a later release may have it: further types, and fields that stand behind, by name."""
    later: dict[str, Any] = {"type": Literal[*map(str, EventType), WISH], "price": TaxedMoney | None}
    fields: list[Any] = [
        *((one.name, later.get(one.name, one.type), *_default_of(one)) for one in msgspec.structs.fields(Event)),
        ("aisle", str | None, None),
        ("list", dict[str, str | bool] | None, None),
        ("occasion", str | None, None),
        ("walked_m", int | None, None),
    ]
    return msgspec.defstruct(
        "Event", fields, frozen=True, kw_only=True, omit_defaults=True, namespace={"key": Event.key}, **options
    )


def _default_of(field: Any) -> tuple[Any, ...]:
    if field.default_factory is not msgspec.NODEFAULT:
        return (msgspec.field(default_factory=field.default_factory),)
    return () if field.default is msgspec.NODEFAULT else (field.default,)


LATER, LATER_KNOWN = event_of_later(), event_of_later(forbid_unknown_fields=True)


@pytest.fixture
def learn(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Update the server to a release that knows what the newer app says."""

    def learn() -> None:
        monkeypatch.setattr(received, "Event", LATER)
        monkeypatch.setattr(received, "_Known", LATER_KNOWN)
        monkeypatch.setitem(EVENT_CODES, WISH, len(EVENT_CODES) + 1)
        monkeypatch.setitem(summary.TYPE_SHARE, WISH, 8)

    return learn


def newer_request(format: str = JSON, of: str = JSON) -> SyncRequest:
    """What a newer app said, with its events in a format."""
    request = read_request((NEWER_APP / f"sync_request{SUFFIXES[of]}").read_bytes(), of)
    if format == of:
        return request
    decoders = {JSON: msgspec.json.decode, MESSAGEPACK: msgspec.msgpack.decode}
    events = tuple(msgspec.Raw(codec.encode(decoders[of](raw), format)) for raw in request.events)
    return msgspec.structs.replace(request, events=events)


def newer_phone(world: Any, purposes: tuple[Purpose, ...] = tuple(Purpose)) -> Any:
    phone = world.phone()
    with world.store.write() as connection:
        connection.execute(update(tables.devices).values(device_id=DEVICE))
    phone.device_id = DEVICE
    phone.log_in(LOGIN, purposes=purposes)
    world.pass_hours(1)
    return phone


def said(world: Any, format: str = JSON) -> Any:
    return world.wire.sync(DEVICE, newer_request(format), format)


def counted(world: Any) -> dict[str, list[Any]]:
    """What events left behind, but for the numbers of the transactions that did it."""
    some = (tables.events, tables.owner_events, tables.item_activities, tables.order_lines, tables.hour_counts)
    with world.store.read() as connection:
        return {
            table.name: [
                tuple(value for name, value in row._mapping.items() if name != "stamp")
                for row in connection.execute(select(table).order_by(*table.primary_key.columns))
            ]
            for table in some
        }


@pytest.mark.parametrize("format", SUFFIXES)
def test_a_newer_app_s_events_are_held_and_count_once_learned_as_if_always_known(
    world, new_world, tmp_path, learn, format
):
    newer_phone(world)
    first = world.wire.sync(DEVICE, newer_request(format, of=format), format)
    assert kinds(first) == HELD_FIRST
    assert [verdict.reason for verdict in first.verdicts[2:]] == [NEWER] * 3
    assert (first.watermark, census.count_events(world.store)) == (4, 2)
    world.pass_hours(30)
    for again in SUFFIXES:
        assert kinds(said(world, again)) == [DUPLICATE, DUPLICATE, *HELD_FIRST[2:]]
    assert replay.replay(world.store) == Replayed(0, 3)
    learn()
    assert kinds(said(world)) == [DUPLICATE, DUPLICATE, *HELD_FIRST[2:]]  # until it is replayed
    assert replay.replay(world.store) == Replayed(3, 0)
    for again in SUFFIXES:
        assert kinds(said(world, again)) == [DUPLICATE] * 5
    assert replay.replay(world.store) == Replayed(0, 0)
    entries = [row.detail for row in _audit_rows(world) if row.action == "replay"]
    assert entries == ['{"events":3}']
    assert audit_log.verify(world.store)
    (tmp_path / "other").mkdir()
    with new_world(tmp_path / "other") as always:
        newer_phone(always)
        assert kinds(said(always)) == [ACCEPTED] * 5
        assert counted(world) == counted(always)
        assert set(census.profile(always.store, LOGIN).items) == {"milk", "tea"}


def _audit_rows(world):
    with world.store.read() as connection:
        return connection.execute(select(tables.audit_log)).all()


def test_a_phone_is_told_what_was_replayed_and_so_is_the_broker(world, learn):
    world.store.close()
    world.store = open_store(world.settings.database_url, world.clock, world.settings.keys, publishes=True)
    phone = newer_phone(world)
    said(world)
    before = phone.sync(owner=LOGIN).profile.version
    with world.store.read() as connection:
        told = len(outbox.pending(connection, 100))
    learn()
    replay.replay(world.store)
    delta = phone.sync(owner=LOGIN, profile_version=before).profile
    assert (delta.base_version, set(delta.items), set(delta.orders)) == (before, {"milk", "tea"}, {"order-2"})
    with world.store.read() as connection:
        (row,) = outbox.pending(connection, 100)[told:]
        handle = find(connection, world.store.keys, [LOGIN])[LOGIN].handle
    assert isinstance(row.message, ProfileChanged)
    assert row.message.handle == handle


class TestConsent:
    def test_of_people_without_consent_quarantine_keeps_nothing_and_nothing_counts_later(self, world, learn):
        phone = newer_phone(world, purposes=())
        phone.sync(msgspec.Raw(codec.encode(msgspec.to_builtins(phone.event("butter", seq=9)) | {"type": "butter"})))
        assert kinds(said(world)) == [REFUSED, REFUSED, QUARANTINED, QUARANTINED, QUARANTINED]
        rows = counted(world)["events"]
        text = repr(rows)
        assert [word for word in ("butter", "milk", "tea", "birthday", WISH, LOGIN, "order-2") if word in text] == []
        phone.sync(consents=tuple(phone.fact(purpose) for purpose in Purpose))
        learn()
        assert replay.replay(world.store) == Replayed(0, 0)
        assert kinds(said(world)) == [REFUSED, REFUSED, QUARANTINED, QUARANTINED, QUARANTINED]  # as it was answered
        assert census.count_events(world.store) == 0

    def test_who_opted_out_since_is_waited_for(self, world, learn):
        phone = newer_phone(world)
        said(world)
        phone.sync(consents=tuple(phone.fact(purpose, granted=False, cites=1) for purpose in Purpose))
        learn()
        assert replay.replay(world.store) == Replayed(0, 3)
        phone.sync(consents=(phone.fact(Purpose.ANALYTICS, cites=2),))
        assert replay.replay(world.store) == Replayed(3, 0)
        assert kinds(said(world)) == [DUPLICATE] * 5

    def test_what_may_enter_the_profile_is_what_could_when_it_came(self, world, learn):
        phone = newer_phone(world, purposes=(Purpose.ANALYTICS,))
        said(world)
        phone.sync(consents=(phone.fact(Purpose.PERSONALIZATION),))
        learn()
        assert replay.replay(world.store) == Replayed(3, 0)
        assert census.profile(world.store, LOGIN).items == {}
        assert census.count_events(world.store) == 5

    def test_of_the_erased_nothing_is_left_to_be_judged(self, world, learn):
        newer_phone(world)
        said(world)
        world.pass_hours(1)
        with take_turn(world.store) as turn:
            person = find(turn.connection, turn.keys, [LOGIN])[LOGIN].person_id
            journal = ErasureJournal(Path(world.settings.erasure_journal))
            erasure.erase(turn, journal, world.store.generation, person, "staff ada")
        learn()
        assert replay.replay(world.store) == Replayed(0, 0)
        world.pass_hours(1)
        answer = world.wire.sync(DEVICE, newer_request(), JSON)
        assert kinds(answer) == [CONFLICT] * 5
        assert census.count_events(world.store) == 0


class Cut(Exception):
    """The process ends."""


@contextmanager
def cut_before(statement: int) -> Iterator[None]:
    left = itertools.count(statement, -1)

    def strike(*_: object) -> None:
        if next(left) == 0:
            raise Cut

    event.listen(Engine, "before_cursor_execute", strike)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", strike)


def test_cut_off_anywhere_it_goes_on_and_each_event_counts_once(new_world, tmp_path, learn, monkeypatch):
    monkeypatch.setattr(replay, "EVENTS_TOGETHER", 1)
    with new_world(tmp_path) as world:
        newer_phone(world)
        said(world)
        learn()
        for statement in itertools.count():
            try:
                with cut_before(statement):
                    replay.replay(world.store)
            except Cut:
                continue
            break
        assert statement > 10
        assert census.count_events(world.store) == 5
        found = counted(world)
    (tmp_path / "other").mkdir()
    with new_world(tmp_path / "other") as always:
        newer_phone(always)
        said(always)
        assert found == counted(always)


def test_a_batch_takes_as_many_statements_however_many_events(world, learn, statements, monkeypatch):
    phone = newer_phone(world)
    made = [msgspec.to_builtins(phone.event(f"item-{number}")) | {"type": WISH} for number in range(100)]
    assert set(kinds(phone.sync(*(msgspec.Raw(codec.encode(one)) for one in made)))) == {QUARANTINED}
    learn()
    numbers = []
    for together in (10, 20):
        monkeypatch.setattr(replay, "EVENTS_TOGETHER", together)
        with take_turn(world.store) as turn:
            rows = replay._held_after(turn.connection, (-1, "", 0, 0))
            with statements(world.store) as executed:
                replay._accept(turn, replay._understood(turn.connection, rows))
            assert len(rows) == together
        numbers.append(len(executed))
    assert numbers[0] == numbers[1]


def test_a_field_of_later_stands_behind_by_name_and_is_null_by_default():
    """Or an event of an app that is newer than its server would be another one after the update."""
    first = 13  # fields of release 0.1
    later = msgspec.structs.fields(Event)[first:]
    assert [field.name for field in later] == sorted(field.name for field in later)
    assert all(field.default is None for field in later)


CONTEXTS = st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3)


@given(
    type=st.sampled_from([*EventType, WISH]),
    item=st.none() | st.just("milk"),
    quantity=st.integers(1, 3),
    price=st.none() | st.just({"amount": 5, "currency": "EUR"}),
    context=CONTEXTS,
    further=st.fixed_dictionaries(
        {},
        optional={
            "aisle": st.none() | st.text(max_size=3),
            "list": st.none() | CONTEXTS,
            "occasion": st.just("x"),
            "walked_m": st.integers(0, 9),
        },
    ),
    formats=st.tuples(st.sampled_from([JSON, MESSAGEPACK]), st.sampled_from([JSON, MESSAGEPACK])),
    data=st.data(),
)
def test_an_event_is_the_same_at_rest_whether_or_not_it_is_known(
    type, item, quantity, price, context, further, formats, data
):
    fields = {
        "device_id": "d", "epoch": 1, "seq": 0, "type": str(type), "owner": "card:1", "occurred_at": 5, "boot_id": "b",
        "uptime_ms": 1, "item_id": item, "quantity": quantity, "price": price, "context": context, **further,
    }  # fmt: skip
    shuffled = dict(data.draw(st.permutations(list(fields.items()))))
    encoders = {JSON: msgspec.json.encode, MESSAGEPACK: msgspec.msgpack.encode}
    read = read_event(msgspec.Raw(encoders[formats[0]](shuffled)), formats[0])
    later = msgspec.convert(fields, LATER)
    assert read.payload == at_rest(later)
    assert (read.event is None) == (type == WISH)
    left_out = {"context": {}, "quantity": 1}
    shorter = {name: value for name, value in shuffled.items() if value != left_out.get(name)}
    again = read_event(msgspec.Raw(encoders[formats[1]](shorter)), formats[1])
    assert again.payload_hash == read.payload_hash
