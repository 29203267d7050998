"""Phones and tills against the real server: exactly once, whatever is lost, cloned, restored or full."""

import random
import secrets
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from contracts.consent import Purpose
from contracts.errors import AuthenticationError
from contracts.events import Event, EventType, Money
from contracts.summary import Summary
from contracts.sync import VerdictKind
from device_sim.clock import DeviceClock
from device_sim.device import Device, Happening
from device_sim.network import UnreliableNetwork
from device_sim.phone import Moment, Phone
from device_sim.till import Till

STAFF_TOKEN = "the staff's token of the tests"
KEEPING = (Purpose.PERSONALIZATION, Purpose.ANALYTICS, Purpose.MODEL_TRAINING)
NO_ROOT = b"no root: these phones are offered no bundle"
DAY_MS = 24 * 3_600_000


def bought(item: str, order: str, quantity: int = 1) -> Happening:
    return Happening(type=EventType.PURCHASE, item_id=item, quantity=quantity, price=Money(250, "USD"), order_id=order)


def viewed(item: str) -> Happening:
    return Happening(type=EventType.VIEW, item_id=item)


def held_events(server, *devices: Device) -> list[Event]:
    """What lies in the server's database of these devices, read past the server; the owner's name is its number."""
    with sqlite3.connect(server.database) as connection:
        rows = connection.execute("SELECT payload, owner_id FROM events WHERE verdict = 'accepted'").fetchall()
    events = [msgspec.convert(msgspec.json.decode(payload) | {"owner": str(owner)}, Event) for payload, owner in rows]
    return [event for event in events if event.device_id in {device.cache.device_id for device in devices}]


@pytest.fixture
def person() -> str:
    """A name that no other test uses: the tests share a server."""
    return f"anna-{secrets.token_hex(4)}"


@pytest.fixture
def open_phone(server, person: str, tmp_path: Path) -> Callable[..., Phone]:
    """Open a phone that the person uses: `open_phone(name, loss=0.0, wrong_by_ms=0, at=server, **options)`."""

    def open_one(name: str = "phone", loss: float = 0.0, wrong_by_ms: int = 0, at=server, **options) -> Phone:
        network = UnreliableNetwork(loss, random.Random(3))
        clock = DeviceClock(at.time.now_ms, f"boot of {name}", wrong_by_ms)
        http = at.http(network)
        phone = Phone(tmp_path / name, http, clock, random.Random(4), NO_ROOT, **options)
        phone.http, phone.network = http, network  # type: ignore[attr-defined]
        owner = f"login:{person}"
        known = phone.owner == owner
        phone.log_in(owner, lambda: (at.identity_provider.token(owner, also=(f"card:{person}",)),))
        if not known:
            for purpose in KEEPING:
                phone.decide(owner, purpose, granted=True)
        return phone

    return open_one


@pytest.fixture
def till(server, tmp_path: Path) -> Till:
    clock = DeviceClock(server.time.now_ms, "till")
    return Till(tmp_path / "till", server.http(), clock, random.Random(1), STAFF_TOKEN)


def drain(phone: Phone) -> list:
    reports = []
    for _ in range(200):
        report = phone.sync()
        if report is not None:
            reports.append(report)
            if not report.unsettled:
                return reports
    raise AssertionError("the phone does not get its events through")


@pytest.mark.parametrize("content_type", ["application/json", "application/msgpack"])
def test_events_arrive_and_come_back_as_the_profile(server, open_phone, content_type: str) -> None:
    phone = open_phone(content_type=content_type)
    recorded = phone.act([viewed("item-1"), bought("item-2", "o-1", 3)])
    server.time.advance_to(server.time.now_ms() + 5000)
    report = phone.sync()
    assert report is not None
    assert report.verdicts == {VerdictKind.ACCEPTED: 2}
    held = sorted(held_events(server, phone), key=lambda event: event.seq)
    assert held == [
        msgspec.structs.replace(event, device_id=phone.cache.device_id, epoch=1, owner=held[0].owner)
        for event in recorded
    ]
    summary = phone.profile.summary()
    assert summary.orders["o-1"]["item-2"].quantity == 3
    assert summary.orders["o-1"]["item-2"].amount == 750
    assert set(summary.items) == {"item-1"}
    assert phone.cache.kept({phone.owner}, settled=True) == []  # the watermark has passed them
    assert phone.summary() == summary


def test_a_thousand_events_with_every_third_answer_lost_are_held_once(server, open_phone) -> None:
    phone = open_phone(loss=0.35)
    reports = []
    for number in range(1200):
        phone.act([viewed(f"item-{number % 50}")])
        if number % 100 == 99:
            reports += [report] if (report := phone.sync()) else []
    reports += drain(phone)
    assert phone.network.lost_answers > 0
    assert sum(report.resent for report in reports) > 0
    held = held_events(server, phone)
    assert sorted(event.seq for event in held) == list(range(1200))
    assert {(event.device_id, event.epoch) for event in held} == {(phone.cache.device_id, phone.cache.epoch)} or len(
        {event.epoch for event in held}
    ) > 1  # an enrolment whose answer was lost is done again, and gives a new epoch
    kinds = {entry.kind for entry in phone.timeline}
    assert {Moment.SYNC, Moment.LOST_ANSWER, Moment.RESEND, Moment.PROFILE} <= kinds


def test_till_and_phone_become_one_profile_and_the_same_order_counts_once(open_phone, till: Till, person: str) -> None:
    till.register(f"card:{person}", KEEPING)
    till.sell(f"card:{person}", [bought("item-5", "o-1", 2), bought("item-6", "o-2")])
    assert till.sync().verdicts == {VerdictKind.ACCEPTED: 2}
    phone = open_phone()
    phone.act([bought("item-5", "o-1", 2), bought("item-7", "o-3")])
    phone.sync()
    orders = phone.profile.summary().orders
    assert {(order, item): line.quantity for order, lines in orders.items() for item, line in lines.items()} == {
        ("o-1", "item-5"): 2,
        ("o-2", "item-6"): 1,
        ("o-3", "item-7"): 1,
    }
    assert set(phone.profile.owners) == {f"login:{person}", f"card:{person}"}
    till.sell(f"card:{person}", [bought("item-8", "o-4")])
    till.sync()
    phone.sync()
    assert "o-4" in phone.profile.summary().orders


def test_a_clone_loses_nothing(server, open_phone, tmp_path: Path) -> None:
    original = open_phone("original")
    original.act([viewed("item-1"), viewed("item-2")])
    original.sync()
    original.act([viewed("item-3")])  # pending when the phone is cloned
    original.close()
    shutil.copytree(tmp_path / "original", tmp_path / "clone")
    original, clone = open_phone("original"), open_phone("clone")
    original.act([viewed("item-4"), viewed("item-5")])
    clone.act([viewed("item-14"), viewed("item-15"), viewed("item-16")])
    original.sync()
    reports = drain(clone)
    assert reports[0].verdicts[VerdictKind.CONFLICT] == 2
    assert reports[0].verdicts[VerdictKind.DUPLICATE] == 1  # the event from before the cloning
    assert len(reports[0].renumbered) == 2
    clone.act([viewed("item-17")])
    original.act([viewed("item-6")])
    drain(clone)
    drain(original)
    items = sorted(event.item_id for event in held_events(server, original))
    assert items == sorted(f"item-{number}" for number in (1, 2, 3, 4, 5, 6, 14, 15, 16, 17))
    assert clone.cache.epoch != original.cache.epoch


def test_a_full_cache_gives_up_the_least_important_first_and_the_server_knows(server, open_phone) -> None:
    phone = open_phone(capacity=10)
    for number in range(8):
        phone.act(
            [Happening(type=EventType.IMPRESSION, item_id=f"item-{number}"), bought(f"item-{number}", f"o-{number}")]
        )
    for number in range(8, 12):
        phone.act([bought(f"item-{number}", f"o-{number}")])
    assert phone.cache.dropped() == {EventType.IMPRESSION: 8, EventType.PURCHASE: 2}
    drain(phone)
    assert {event.item_id for event in held_events(server, phone)} == {f"item-{number}" for number in range(2, 12)}
    with sqlite3.connect(server.database) as connection:
        mine = (phone.cache.device_id,)
        rows = connection.execute("SELECT counts FROM dropped_ranges WHERE device_id = ?", mine).fetchall()
    counts = [msgspec.json.decode(row[0]) for row in rows]
    assert sum(count.get("impression", 0) for count in counts) == 8
    assert sum(count.get("purchase", 0) for count in counts) == 2
    assert phone.cache.dropped() == {}  # the watermark has passed them
    report = phone.sync()
    assert report is not None
    assert report.sent == 0


def test_a_wrong_clock_does_not_move_history(server, open_phone) -> None:
    phone = open_phone(wrong_by_ms=-47 * 365 * DAY_MS)  # about 1970
    phone.sync()
    assert abs(phone.now_ms() - server.time.now_ms()) < 1000
    phone.act([bought("item-1", "o-1")])
    offline = phone.summary()
    server.time.advance_to(server.time.now_ms() + 3 * DAY_MS)
    phone.clock.reboot("another boot")
    phone.sync()
    assert phone.profile.summary() == offline == phone.summary()


def test_offline_the_phone_knows_its_own_events_at_once_and_never_twice(server, open_phone) -> None:
    phone = open_phone()
    phone.sync()
    phone.network.online = False
    phone.act([bought("item-1", "o-1"), viewed("item-2")])
    before = phone.summary()
    assert phone.sync() is None
    assert set(before.orders) == {"o-1"}
    phone.network.online = True
    phone.sync()
    assert phone.summary() == before  # now from the server


def test_windows_count_every_channel_once_with_and_without_a_network(open_phone, till: Till, person: str) -> None:
    phone = open_phone()
    phone.sync()
    till.register(f"card:{person}", KEEPING)
    till.sell(f"card:{person}", [bought("item-5", "o-1"), bought("item-6", "o-2")])
    till.sync()
    phone.network.online = False
    phone.act([bought("item-5", "o-1"), viewed("item-2"), viewed("item-2")])
    assert phone.windows()["hour"] == {EventType.VIEW: 2, EventType.PURCHASE: 1}
    phone.network.online = True
    phone.sync()
    for window in phone.windows().values():
        assert window == {EventType.VIEW: 2, EventType.PURCHASE: 2}
    phone.log_out()
    assert not any(phone.windows().values())


def test_a_change_of_owner_wipes_the_profile_but_not_the_events(server, open_phone, person: str) -> None:
    phone = open_phone()
    phone.act([bought("item-1", "o-1")])
    phone.sync()
    phone.act([bought("item-2", "o-2")])
    phone.log_out()
    assert phone.summary() == Summary()
    assert phone.profile.summary() == Summary()
    ben = f"login:{person}'s friend ben"
    phone.log_in(ben, lambda: (server.identity_provider.token(ben),))
    phone.sync()
    assert phone.summary() == Summary()
    held = held_events(server, phone)
    assert {event.order_id for event in held} == {"o-1", "o-2"}
    assert len({event.owner for event in held}) == 1


def test_without_consent_nothing_is_kept_and_the_phone_is_told(server, open_phone) -> None:
    phone = open_phone()
    phone.sync()
    for purpose in KEEPING:
        phone.decide(phone.owner, purpose, granted=False)
    phone.act([viewed("item-1")])
    report = phone.sync()
    assert report is not None
    assert report.verdicts == {VerdictKind.REFUSED: 1}
    assert held_events(server, phone) == []
    assert phone.cache.unsettled() == 0


def test_a_change_of_mind_offline_ends_where_the_person_left_it(server, open_phone) -> None:
    phone = open_phone()
    phone.sync()
    for purpose in KEEPING:
        for granted in (False, True, False, True):
            phone.decide(phone.owner, purpose, granted)
    phone.act([viewed("item-1")])
    report = phone.sync()
    assert report is not None
    assert report.verdicts == {VerdictKind.ACCEPTED: 1}
    assert all(phone.profile.consents[purpose].granted for purpose in KEEPING)


@pytest.mark.parametrize("own_server", [{"max_decoded_bytes": 20_000}], indirect=True)
def test_a_batch_that_is_too_large_for_the_server_is_sent_in_parts(own_server, open_phone) -> None:
    phone = open_phone(at=own_server, content_type="application/json")
    phone.act(viewed(f"item-{number}") for number in range(400))
    reports = drain(phone)
    assert len(reports) > 2
    assert sorted(event.seq for event in held_events(own_server, phone)) == list(range(400))


def test_events_wait_for_decisions_that_do_not_fit_one_request(server, till: Till, person: str) -> None:
    cards = [f"card:{person}-{number}" for number in range(50)]
    for card in cards:
        till.register(card, KEEPING)
        till.sell(card, [bought("item-1", f"order of {card}")])
    while till.cache.unsettled():
        report = till.sync()
        assert report is not None
        assert not report.refused
    assert len(held_events(server, till)) == 50


def test_a_store_restored_from_a_backup_gets_again_what_the_watermark_had_not_passed(
    own_server, open_phone, tmp_path: Path
) -> None:
    phone = open_phone(at=own_server)
    phone.sync()
    own_server.stop()
    with sqlite3.connect(own_server.database) as source, sqlite3.connect(tmp_path / "backup") as backup:
        source.backup(backup)
    own_server.start()
    phone.http.base_url = own_server.url
    # One request takes 500 events, the important ones first: the view, which has the lowest number, is held back.
    phone.act([viewed("item-1"), *(bought(f"item-{number % 50}", f"o-{number}") for number in range(500))])
    report = phone.sync()
    assert (report.sent, report.unsettled) == (500, 1)
    own_server.stop()
    for path in own_server.directory.glob("sync.sqlite*"):
        path.unlink()
    shutil.copy(tmp_path / "backup", own_server.database)
    before = phone.cache.generation
    own_server.start()  # finds out by itself that the store is an older one
    phone.http.base_url = own_server.url
    drain(phone)
    assert phone.cache.generation != before
    assert len(held_events(own_server, phone)) == 501
    assert len(phone.profile.summary().orders) == 500


def test_a_store_that_never_knew_the_phone_enrols_it_anew(own_server, open_phone) -> None:
    phone = open_phone(at=own_server)
    phone.act([viewed("item-1")])
    phone.sync()
    first = phone.cache.device_id
    recorded = phone.act([viewed("item-2")])
    own_server.stop()
    for path in own_server.directory.glob("sync.sqlite*"):
        path.unlink()
    own_server.start()
    phone.http.base_url = own_server.url
    report = phone.sync()
    assert phone.cache.device_id not in ("", first)
    new_key = msgspec.structs.replace(recorded[0], device_id=phone.cache.device_id, epoch=1, seq=0).key
    assert phone.renumbered[recorded[0].key] == new_key
    assert [key for key, _ in report.refused] == [new_key]  # the new store knows of no consent
    for purpose in KEEPING:
        phone.decide(phone.owner, purpose, granted=True)
    phone.act([viewed("item-3")])
    drain(phone)
    assert [event.item_id for event in held_events(own_server, phone)] == ["item-3"]


def test_a_phone_of_an_erased_person_forgets_everything_and_goes_on_as_a_new_session(
    server, open_phone, person: str
) -> None:
    phone, other = open_phone("one"), open_phone("two")
    for one in (phone, other):
        one.log_in(f"login:{person}", lambda: (server.identity_provider.token(f"login:{person}"),))
    for purpose in KEEPING:
        phone.decide(phone.owner, purpose, granted=True)
    phone.act([bought("item-1", "o-1")])
    phone.sync()
    other.sync()
    assert set(other.profile.summary().orders) == {"o-1"}
    other.act([bought("item-2", "o-2")])
    other.decide(other.owner, Purpose.ANALYTICS, granted=False)
    erased = phone.client.erase(server.identity_provider.token(f"login:{person}"))
    assert erased.owners == 1
    for one in (phone, other):
        report = one.sync()
        assert report.erased
        assert one.owner.startswith("anonymous:")
        assert one.profile.version == 0
        assert one.summary() == Summary()
        assert not one.client.consents.pending()
        assert one.cache.unsettled() == 0
        assert [entry.kind for entry in one.timeline][-2:] == [Moment.ERASED, Moment.SYNC]
        assert not one.sync().erased
    assert held_events(server, phone, other) == []


def test_an_erasure_whose_answer_was_lost_is_asked_for_again_as_the_same_wish(server, open_phone, person: str) -> None:
    phone, other = open_phone("one"), open_phone("two")
    token = server.identity_provider.token(f"login:{person}")

    def minute_later(sync: Callable[[], object]) -> None:
        server.time.advance_to(server.time.now_ms() + 60_000)
        sync()

    phone.sync()
    minute_later(other.sync)
    phone.network._loss = 1.0
    with pytest.raises(httpx.ReadError):
        phone.client.erase(token)
    phone.network._loss = 0.0
    for _ in range(2):  # told to forget, and back again
        minute_later(other.sync)
        other.log_in(f"login:{person}", lambda: (token,))
    assert phone.client.erase(token).erased_at == server.time.now_ms() - 120_000
    minute_later(other.sync)
    assert other.profile.version != 0
    assert phone.client.erase(token).erased_at == server.time.now_ms()  # another wish
    assert other.sync().erased


def test_a_till_without_the_staff_s_token_is_refused(server, tmp_path: Path) -> None:
    till = Till(tmp_path / "till", server.http(), DeviceClock(server.time.now_ms, "b"), random.Random(1), "guessed")
    with pytest.raises(AuthenticationError, match="staff"):
        till.sync()


def test_an_offline_network_reaches_nothing(server) -> None:
    network = UnreliableNetwork(0.0, random.Random(1))
    network.online = False
    with pytest.raises(httpx.ConnectError):
        server.http(network).get("/healthz")
