"""Verdicts: exactly once, by key, whatever comes."""

import msgspec
import pytest
from sqlalchemy import select

from contracts import codec
from contracts.consent import Purpose
from contracts.errors import AuthenticationError, PermissionDenied, WireError
from contracts.events import EventType, Money
from contracts.sync import Dropped, SeqRange, VerdictKind
from sync_server import census
from sync_server.received import payload_hash
from sync_server.tables import events

ACCEPTED, DUPLICATE, CONFLICT = VerdictKind.ACCEPTED, VerdictKind.DUPLICATE, VerdictKind.CONFLICT
QUARANTINED, REFUSED = VerdictKind.QUARANTINED, VerdictKind.REFUSED


def kinds(response):
    return [verdict.kind for verdict in response.verdicts]


@pytest.fixture
def phone(world):
    phone = world.phone()
    phone.log_in("login:ada")
    return phone


def test_a_lost_answer_and_a_resend_in_other_chunks_and_another_format(world, phone):
    events = [phone.event(f"item-{number}") for number in range(6)]
    phone.sync(*events)
    profile = census.profile(world.store, "login:ada")
    assert kinds(phone.sync(*reversed(events[:4]), format="application/msgpack")) == [DUPLICATE] * 4
    assert kinds(phone.sync(*events[3:], phone.event())) == [DUPLICATE] * 3 + [ACCEPTED]
    assert census.count_events(world.store) == 7
    assert {item: census.profile(world.store, "login:ada").items[item] for item in profile.items} == profile.items


def test_an_event_twice_in_one_request_counts_once(world, phone):
    event = phone.event()
    assert kinds(phone.sync(event, event)) == [ACCEPTED, DUPLICATE]
    assert census.accepted_events(world.store) == {event.key: payload_hash(event)}


def test_a_key_with_another_payload_gets_a_new_epoch_and_nothing_of_a_clone_is_lost(world, phone):
    mine, clones = phone.event("milk"), phone.event("bread", seq=0)
    assert phone.sync(mine).epoch == phone.epoch
    answer = phone.sync(clones, phone.event("eggs", seq=1))
    assert kinds(answer) == [CONFLICT, ACCEPTED]
    assert answer.epoch > phone.epoch
    renumbered = msgspec.structs.replace(clones, epoch=answer.epoch, seq=0)
    again = phone.sync(renumbered, epoch=answer.epoch)
    assert kinds(again) == [ACCEPTED]
    assert (again.epoch, again.watermark) == (answer.epoch, 0)
    assert set(census.profile(world.store, "login:ada").items) == {"milk", "bread", "eggs"}
    assert phone.sync().epoch == phone.epoch  # the original goes on as before


def test_every_conflict_gets_an_epoch_of_its_own(world, phone):
    phone.sync(phone.event())
    clone = phone.event("bread", seq=0)
    assert phone.sync(clone).epoch != phone.sync(clone).epoch


def test_a_poison_event_is_set_aside_alone_and_remembered(world, phone):
    good = msgspec.to_builtins(phone.event())
    poisons = [
        msgspec.Raw(codec.encode(good | {"seq": number, **change}))
        for number, change in enumerate(
            [
                {"quantity": 0},
                {"type": "teleported"},
                {"owner": "robot:1"},
                {"price": {"amount": 2**50, "currency": "EUR"}, "quantity": 10**6},
            ],
            start=1,
        )
    ]
    answer = phone.sync(msgspec.Raw(codec.encode(good)), *poisons)
    assert kinds(answer) == [ACCEPTED] + [QUARANTINED] * 4
    assert answer.watermark == 4
    assert phone.sync(*poisons).verdicts == tuple(
        msgspec.structs.replace(verdict, position=verdict.position - 1) for verdict in answer.verdicts[1:]
    )
    assert census.count_events(world.store) == 1
    assert census.count_events(world.store, QUARANTINED) == 4


def test_a_text_that_a_database_cannot_keep_is_set_aside_alone(world, phone):
    answer = phone.sync(phone.event("a\x00b"), phone.event(order_id="\x00"), phone.event("good"))
    assert kinds(answer) == [QUARANTINED, QUARANTINED, ACCEPTED]


def test_a_foreign_key_and_an_epoch_never_issued_are_refused_and_occupy_nothing(world, phone):
    other = world.phone()
    other.log_in("login:bob")
    theirs = other.event()
    assert kinds(phone.sync(theirs, phone.event(epoch=7), phone.event(epoch=0))) == [REFUSED] * 3
    assert kinds(other.sync(theirs)) == [ACCEPTED]


def test_gaps_are_what_is_neither_received_nor_held_nor_dropped(phone):
    events = [phone.event() for _ in range(12)]
    answer = phone.sync(events[0], events[1], events[6], held=(SeqRange(3, 3),))
    assert (answer.watermark, answer.gaps) == (1, (SeqRange(2, 2), SeqRange(4, 5)))
    lost = Dropped(range=SeqRange(4, 5), counts={EventType.VIEW: 2})
    answer = phone.sync(events[2], events[11], dropped=(lost,), held=(SeqRange(3, 3), SeqRange(7, 10)))
    assert (answer.watermark, answer.gaps) == (2, ())
    answer = phone.sync(*events[3:5], *events[7:11])
    assert (answer.watermark, answer.gaps) == (11, ())


def test_a_range_that_ends_before_it_starts_is_an_error_and_nothing_is_taken(world, phone):
    with pytest.raises(WireError, match="ends before it starts"):
        phone.sync(phone.event(), held=(SeqRange(3, 2),))
    assert census.count_events(world.store) == 0


def test_an_epoch_never_issued_is_an_error_unless_the_store_was_restored(phone):
    with pytest.raises(WireError, match="never issued"):
        phone.sync(epoch=5)
    restored = phone.event(epoch=5)
    answer = phone.sync(restored, epoch=5, generation="of a store since restored")
    assert kinds(answer) == [ACCEPTED]
    assert answer.epoch == 5


class TestConsent:
    def test_without_consent_an_event_is_refused_for_ever_and_its_key_stays(self, world):
        phone = world.phone()
        phone.log_in("login:ada", purposes=())
        event = phone.event()
        refused = phone.sync(event)
        assert kinds(refused) == [REFUSED]
        assert "personalization" in refused.verdicts[0].reason
        phone.sync(consents=(phone.fact(Purpose.ANALYTICS),))
        assert phone.sync(event).verdicts == refused.verdicts
        assert kinds(phone.sync(phone.event())) == [ACCEPTED]

    def test_federated_training_alone_keeps_no_event(self, world):
        phone = world.phone()
        phone.log_in("login:ada", purposes=(Purpose.FEDERATED_TRAINING,))
        assert kinds(phone.sync(phone.event())) == [REFUSED]

    @pytest.mark.parametrize("purpose", [Purpose.ANALYTICS, Purpose.MODEL_TRAINING])
    def test_only_personalization_lets_an_event_into_the_profile(self, world, purpose):
        phone = world.phone()
        phone.log_in("login:ada", purposes=(purpose,))
        assert kinds(phone.sync(phone.event())) == [ACCEPTED]
        assert census.profile(world.store, "login:ada").items == {}
        phone.sync(consents=(phone.fact(Purpose.PERSONALIZATION),))
        phone.sync(phone.event("bread"))
        assert set(census.profile(world.store, "login:ada").items) == {"bread"}

    def test_consent_in_a_request_counts_for_its_events_and_a_resent_fact_changes_nothing(self, world):
        phone = world.phone()
        phone.log_in("login:ada", purposes=())
        opt_in, opt_out = phone.fact(Purpose.PERSONALIZATION), phone.fact(Purpose.PERSONALIZATION, granted=False)
        assert kinds(phone.sync(phone.event(), consents=(opt_in,))) == [ACCEPTED]
        assert kinds(phone.sync(phone.event(), consents=(opt_out,))) == [REFUSED]
        assert kinds(phone.sync(phone.event(), consents=(opt_in,))) == [REFUSED]

    def test_an_opt_in_that_saw_an_older_decision_loses_to_the_opt_out(self, world):
        phone, other = world.phone(), world.phone()
        phone.log_in("login:ada")
        other.log_in("login:ada", purposes=())
        for purpose in Purpose:
            other.sync(consents=(other.fact(purpose, granted=False, cites=1),))
        stale = tuple(phone.fact(purpose, cites=1) for purpose in Purpose)
        assert kinds(phone.sync(phone.event(), consents=stale)) == [REFUSED]
        fresh = tuple(phone.fact(purpose, cites=2) for purpose in Purpose)
        assert kinds(phone.sync(phone.event(), consents=fresh)) == [ACCEPTED]

    def test_the_opt_out_of_one_linked_owner_is_that_of_the_person(self, world):
        phone = world.phone()
        phone.log_in("login:ada", "card:1")
        refusing = tuple(phone.fact(purpose, granted=False, owner="card:1") for purpose in Purpose)
        assert kinds(phone.sync(phone.event(), consents=refusing)) == [REFUSED]

    def test_consent_for_somebody_else_is_denied_and_nothing_is_taken(self, world, phone):
        with pytest.raises(PermissionDenied, match="not proven"):
            phone.sync(phone.event(), consents=(phone.fact(Purpose.ANALYTICS, owner="login:bob"),))
        assert census.count_events(world.store) == 0


class TestOwners:
    def test_a_phone_writes_only_for_owners_it_has_proven(self, world, phone):
        answer = phone.sync(phone.event(owner="card:2"), phone.event(owner="login:bob"), phone.event())
        assert kinds(answer) == [REFUSED, REFUSED, ACCEPTED]
        assert "not proven" in answer.verdicts[0].reason

    def test_an_anonymous_session_belongs_to_the_device_that_used_it_first(self, world, phone):
        other = world.phone()
        session = "anonymous:1"
        allowed = (phone.fact(Purpose.PERSONALIZATION, owner=session),)
        assert kinds(phone.sync(phone.event(owner=session), consents=allowed)) == [ACCEPTED]
        assert "another device" in other.sync(other.event(owner=session)).verdicts[0].reason

    def test_a_till_writes_cards_but_no_logins(self, world):
        till = world.till()
        consents = (till.fact(Purpose.PERSONALIZATION, owner="card:1"),)
        answer = till.sync(till.event(owner="card:1"), till.event(owner="login:ada"), consents=consents)
        assert kinds(answer) == [ACCEPTED, REFUSED]

    @pytest.mark.parametrize(
        ("token", "says"),
        [
            ({"exp_ms": 1_000}, "expired"),
            ({"aud": "another shop"}, "udience"),
            ({"exp": "tomorrow"}, "another type"),
        ],
    )
    def test_a_token_that_is_not_good_is_denied_and_nothing_is_taken(self, world, phone, token, says):
        with pytest.raises((AuthenticationError, WireError), match=says):
            phone.sync(phone.event(), identity_tokens=(world.provider.token("login:bob", **token),))
        assert census.count_events(world.store) == 0

    def test_a_token_of_another_issuer_is_denied(self, world, phone):
        for forged in (type(world.provider)().token("login:bob"), "no.token", "", "a.b.c", "é"):
            with pytest.raises(AuthenticationError, match="identity token 0"):
                phone.sync(identity_tokens=(forged,))


class TestTime:
    def occurred(self, world, event):
        with world.store.read() as connection:
            mine = events.c.seq == event.seq
            return connection.execute(select(events.c.occurred_ms, events.c.uncertain).where(mine)).one()

    def test_within_a_boot_the_monotonic_clock_tells_whatever_the_wall_clock_says(self, world, phone):
        happened = world.clock.now_ms()
        event = phone.event(occurred_at=0)
        world.pass_hours(30)
        phone.sync(event, sent_at=-(2**53))
        assert self.occurred(world, event) == (happened, False)

    def test_a_time_is_off_by_at_most_half_the_round_trip_and_uncertain_after_a_long_one(self, world, phone):
        happened, event = world.clock.now_ms(), phone.event()
        request = phone.request(event)
        world.clock.time_ms += 30_000  # the request stalls
        world.wire.sync(phone.device_id, request, "application/json")
        assert self.occurred(world, event) == (happened + 15_000, False)
        late = phone.event()
        request = phone.request(late)
        world.clock.time_ms += 61_000
        world.wire.sync(phone.device_id, request, "application/json")
        assert self.occurred(world, late)[1]

    def test_where_no_round_trip_was_measured_a_time_is_uncertain(self, world, phone):
        event, other = phone.event(), phone.event()
        phone.sync(event, heard=None)
        phone.sync(other, heard=msgspec.structs.replace(phone.heard, boot_id="another"))
        assert self.occurred(world, event) == self.occurred(world, other) == (world.clock.now_ms(), True)

    def test_across_boots_the_wall_clock_is_corrected_and_marked(self, world, phone):
        wrong_by = 10**9
        event = phone.event(boot_id="an earlier boot", occurred_at=world.clock.now_ms() - wrong_by)
        happened = world.clock.now_ms()
        world.pass_hours(5)
        phone.sync(event, sent_at=world.clock.now_ms() - wrong_by)
        assert self.occurred(world, event) == (happened, True)

    @pytest.mark.parametrize(("occurred_at", "hours_ago"), [(2**53, 0), (-(2**53), 2)])
    def test_nothing_happens_in_the_future_or_before_the_sync_that_did_not_know_of_it(
        self, world, phone, occurred_at, hours_ago
    ):
        world.pass_hours(2)
        event = phone.event(boot_id="", occurred_at=occurred_at)
        phone.sync(event, boot_id="")
        assert self.occurred(world, event) == (world.clock.now_ms() - hours_ago * 3_600_000, True)

    def test_a_time_is_fixed_at_first_acceptance(self, world, phone):
        event = phone.event()
        phone.sync(event)
        first = self.occurred(world, event)
        world.pass_hours(50)
        phone.sync(event, uptime_ms=phone.uptime_ms + 10**9)
        assert self.occurred(world, event) == first


def test_an_order_seen_by_the_phone_and_the_till_counts_once(world, phone):
    till = world.till()
    phone.log_in("login:ada", "card:1", purposes=())
    line = {"order_id": "order-1", "quantity": 2, "price": Money(150, "EUR")}
    phone.sync(phone.event("milk", **line))
    till.sync(till.event("milk", owner="card:1", **line), till.event("bread", owner="card:1", order_id="order-1"))
    profile = census.profile(world.store, "login:ada")
    assert {item: row.quantity for item, row in profile.orders["order-1"].items()} == {"milk": 2, "bread": 1}
    assert profile.orders["order-1"]["milk"].amount == 300
    assert census.count_events(world.store) == 3


def test_a_request_that_is_refused_issues_no_epoch(world):
    phone = world.phone()
    foreign = phone.fact(Purpose.ANALYTICS, owner="login:somebody else")
    with pytest.raises(PermissionDenied):
        phone.sync(epoch=5, generation="of a store since restored", consents=(foreign,))
    with pytest.raises(WireError, match="epoch 5 was never issued"):
        phone.sync(epoch=5)
