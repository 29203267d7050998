"""Consent counts both when an event was made and when it is received, whatever order things arrive in."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from contracts.consent import Consent, Purpose, decide
from contracts.sync import SeqRange, VerdictKind
from sync_server import audit_log, census
from sync_server.people import find
from sync_server.tables import consent_facts, events

ACCEPTED, REFUSED = VerdictKind.ACCEPTED, VerdictKind.REFUSED
PERSONALIZATION, ANALYTICS = Purpose.PERSONALIZATION, Purpose.ANALYTICS


def kinds(response):
    return [verdict.kind for verdict in response.verdicts]


def decided(phone, granted=True, cites=0, purpose=PERSONALIZATION, **fields):
    """A decision made now, with the phone's clocks."""
    clocks = {"decided_at": phone.world.clock.now_ms(), "boot_id": "boot", "uptime_ms": phone.uptime_ms}
    name = f"{phone.device_id}/{purpose}/{granted}/{cites}/{phone.uptime_ms}"
    return phone.fact(purpose, granted, cites, **({"fact_id": name} | clocks | fields))


@pytest.fixture
def phone(world):
    phone = world.phone()
    phone.log_in("login:ada", purposes=())
    return phone


@pytest.fixture
def other(world):
    other = world.phone()
    other.log_in("login:ada", purposes=())
    return other


def test_what_was_made_before_the_opt_in_is_refused_and_what_was_made_after_it_offline_is_kept(world, phone):
    before = phone.event()
    world.pass_hours(1)
    fact = decided(phone)
    world.pass_hours(1)
    after = phone.event()
    world.pass_hours(48)
    assert kinds(phone.sync(before, after, consents=(fact,))) == [REFUSED, ACCEPTED]


def test_what_was_made_between_an_opt_out_and_the_next_opt_in_is_refused_also_when_it_arrives_later(
    world, phone, other
):
    phone.sync(consents=(decided(phone),))
    world.pass_hours(1)
    allowed = other.event()
    world.pass_hours(1)
    phone.sync(consents=(decided(phone, granted=False, cites=1),))
    world.pass_hours(1)
    between = other.event()
    world.pass_hours(1)
    phone.sync(consents=(decided(phone, cites=2),))
    world.pass_hours(1)
    after = other.event()
    assert kinds(other.sync(allowed, between, after)) == [ACCEPTED, REFUSED, ACCEPTED]


def test_a_queued_event_is_refused_once_the_opt_out_arrived_though_it_was_allowed_when_it_was_made(world, phone, other):
    phone.sync(consents=(decided(phone),))
    world.pass_hours(1)
    queued = other.event()
    world.pass_hours(1)
    phone.sync(consents=(decided(phone, granted=False, cites=1),))
    assert kinds(other.sync(queued)) == [REFUSED]


def test_an_opt_out_holds_since_it_was_made_not_since_it_arrived(world, phone, other):
    """Made offline before events of another phone, it is known only after the next opt-in: their time is barred."""
    phone.sync(consents=(decided(phone),))
    world.pass_hours(1)
    opt_out = decided(other, granted=False, cites=1)
    world.pass_hours(1)
    made_meanwhile = phone.event()
    world.pass_hours(1)
    other.sync(consents=(opt_out,))
    phone.sync(consents=(decided(phone, cites=2),))
    assert kinds(phone.sync(made_meanwhile, phone.event())) == [REFUSED, ACCEPTED]


def test_each_purpose_has_its_own_time(world, phone):
    phone.sync(consents=(decided(phone, purpose=ANALYTICS),))
    world.pass_hours(1)
    early = phone.event("early")
    world.pass_hours(1)
    fact = decided(phone)
    world.pass_hours(1)
    assert kinds(phone.sync(early, phone.event("late"), consents=(fact,))) == [ACCEPTED, ACCEPTED]
    assert set(census.profile(world.store, "login:ada").items) == {"late"}


def test_a_fact_of_an_older_app_has_no_clocks_and_holds_since_it_arrived(world, phone):
    before = phone.event()
    world.pass_hours(1)
    assert kinds(phone.sync(before, phone.event(), consents=(phone.fact(PERSONALIZATION),))) == [REFUSED, ACCEPTED]


def test_within_a_boot_order_is_exact_however_long_a_request_was_under_way(world, phone):
    """The opt-in's request took ten seconds, so its time is known ten seconds too late; an event's took none."""
    fact = decided(phone)
    request = phone.request(consents=(fact,))
    world.clock.time_ms += 1
    event = phone.event()
    world.clock.time_ms += 10_000
    world.wire.sync(phone.device_id, request, "application/json")
    assert kinds(phone.sync(event)) == [ACCEPTED]


def test_people_who_are_merged_in_mid_batch_get_the_strictest_consent(world, phone):
    till = world.till()
    till.sync(consents=(decided(till, owner="card:1"), decided(till, owner="card:1", purpose=ANALYTICS)))
    phone.sync(consents=(decided(phone, granted=False), decided(phone, purpose=ANALYTICS)))
    world.pass_hours(1)
    mine, of_card = phone.event("mine"), phone.event("of the card", owner="card:1")
    answer = phone.sync(mine, of_card, identity_tokens=(world.provider.token("login:ada", "card:1"),))
    assert kinds(answer) == [ACCEPTED, ACCEPTED]  # both allow analytics
    assert census.profile(world.store, "login:ada").items == {}  # one refused personalization


def test_an_owner_who_had_not_decided_yet_followed_the_others(world, phone):
    till = world.till()
    till.sync(consents=(decided(till, owner="card:1"),))
    world.pass_hours(1)
    early = till.event(owner="card:1")
    world.pass_hours(1)
    phone.sync(consents=(decided(phone),), identity_tokens=(world.provider.token("login:ada", "card:1"),))
    assert kinds(till.sync(early)) == [ACCEPTED]


class TestSlowRequests:
    """Nothing tells how long a boot's first request was under way; the wall clock may."""

    def arrive(self, world, phone, request):
        world.pass_hours(500)
        return kinds(world.wire.sync(phone.device_id, request, "application/json"))

    def test_what_it_brings_of_before_an_opt_in_on_another_device_is_refused(self, world, phone, other):
        event = phone.event()
        request = phone.request(event, heard=None)
        world.pass_hours(1)
        other.sync(consents=(decided(other),))
        assert self.arrive(world, phone, request) == [REFUSED]

    def test_what_it_brings_of_after_is_kept(self, world, phone, other):
        other.sync(consents=(decided(other),))
        world.pass_hours(1)
        assert self.arrive(world, phone, phone.request(phone.event(), heard=None)) == [ACCEPTED]

    def test_a_new_phone_s_opt_in_and_what_it_makes_then_are_kept(self, world):
        phone = world.phone()
        phone.owner = "login:eve"
        fact = decided(phone)
        world.pass_hours(1)
        token = world.provider.token("login:eve")
        request = phone.request(phone.event(), consents=(fact,), identity_tokens=(token,), heard=None, sent_at=0)
        assert self.arrive(world, phone, request) == [ACCEPTED]

    def test_a_clock_that_says_that_the_request_was_made_before_its_device_was_known_is_not_believed(
        self, world, phone, other
    ):
        other.sync(consents=(decided(other),))
        world.pass_hours(1)
        event = phone.event(occurred_at=0)
        assert self.arrive(world, phone, phone.request(event, heard=None, sent_at=0)) == [ACCEPTED]

    def test_where_an_answer_was_heard_in_the_boot_no_clock_is_asked(self, world, phone, other):
        world.pass_hours(1)
        event = phone.event(occurred_at=2**41)
        request = phone.request(event, sent_at=2**41)
        world.pass_hours(1)
        other.sync(consents=(decided(other),))
        assert self.arrive(world, phone, request) == [REFUSED]

    def test_consent_must_have_been_given_all_the_time_in_which_it_may_have_been_made(self, world, phone, other):
        other.sync(consents=(decided(other),))
        world.pass_hours(1)
        request = phone.request(phone.event(), heard=None)
        world.pass_hours(1)
        other.sync(consents=(decided(other, granted=False, cites=1),))
        world.pass_hours(1)
        other.sync(consents=(decided(other, cites=2),))
        assert self.arrive(world, phone, request) == [REFUSED]


class TestNumbers:
    """What a device's numbers tell where its clocks tell nothing."""

    def times(self, world):
        with world.store.read() as connection:
            return {row.seq: row.occurred_ms for row in connection.execute(select(events))}

    @pytest.mark.parametrize("wall_ms", [0, 2**31 * 1000])
    def test_an_event_of_a_boot_with_a_wrong_clock_is_placed_after_the_sync_before_it(self, world, phone, wall_ms):
        phone.sync(consents=(decided(phone),))
        synced_ms = world.clock.now_ms()
        world.pass_hours(5)
        event = phone.event(boot_id="earlier", occurred_at=wall_ms)
        world.pass_hours(5)
        assert kinds(phone.sync(event)) == [ACCEPTED]
        assert self.times(world)[event.seq] == (synced_ms if wall_ms == 0 else world.clock.now_ms())

    def test_an_event_that_was_held_at_a_sync_was_made_before_it(self, world, phone):
        phone.sync(consents=(decided(phone),))
        world.pass_hours(1)
        held = phone.event(boot_id="earlier", occurred_at=2**31 * 1000)
        phone.sync(held=(SeqRange(held.seq, held.seq),))
        synced_ms = world.clock.now_ms()
        world.pass_hours(1)
        phone.sync(phone.event())
        assert kinds(phone.sync(held)) == [ACCEPTED]
        assert self.times(world)[held.seq] <= synced_ms + 3_600_000

    def test_in_another_epoch_numbers_tell_nothing(self, world, phone):
        phone.sync(phone.event(), consents=(decided(phone),))
        world.pass_hours(1)
        clone = phone.event(seq=0, boot_id="earlier", occurred_at=0)
        answer = phone.sync(clone)
        event = msgspec.structs.replace(clone, epoch=answer.epoch, seq=0)
        assert kinds(phone.sync(event, epoch=answer.epoch)) == [REFUSED]


def test_every_decision_is_kept_and_audited_by_handle(world, phone):
    fact = decided(phone)
    world.pass_hours(1)
    phone.sync(consents=(fact, decided(phone, granted=False, cites=1), decided(phone, cites=0)))
    phone.sync(consents=(fact,))
    with world.store.read() as connection:
        rows = connection.execute(
            select(consent_facts).order_by(consent_facts.c.version, consent_facts.c.applied)
        ).all()
        ada = find(connection, world.store.keys, ["login:ada"])["login:ada"]
        entries = audit_log.entries_about(connection, [ada.handle])
    assert [(row.granted, row.applied, row.version) for row in rows] == [
        (True, True, 1),
        (True, False, 2),
        (False, True, 2),
    ]
    assert rows[0].made_ms == rows[1].made_ms - 3_600_000
    assert [entry["action"] for entry in entries] == ["opt_in", "opt_out"]


def test_a_sync_without_facts_asks_nothing_about_history(world, phone, statements):
    phone.sync(phone.event(), consents=(decided(phone),))
    world.pass_hours(1)
    with statements(world.store) as made:
        phone.sync(phone.event())
    assert not [statement for statement in made if "consent_facts" in statement or "audit_log" in statement]


@dataclass
class Oracle:
    """All that was decided, in the order of its arrival, by who truly knows when it was made."""

    arrived: list[tuple[int, int, bool]] = field(default_factory=list)  # made, version, granted
    standing: Consent = field(default_factory=Consent)

    def take(self, made_ms, fact):
        after = decide(self.standing, fact)
        if after != self.standing:
            if fact.granted:
                made_ms = max([made_ms, *(made for made, _, _ in self.arrived)])
            self.arrived.append((made_ms, after.version, after.granted))
        self.standing = after

    def keeps(self, made_ms):
        if not self.standing.granted:
            return False
        grants = [(made, version) for made, version, granted in self.arrived if granted]
        refusals = [(made, version) for made, version, granted in self.arrived if not granted]
        return any(
            made <= made_ms and not any(version > grant and refused <= made_ms for refused, version in refusals)
            for made, grant in grants
        )


steps = st.one_of(
    st.tuples(st.just("decide"), st.integers(0, 1), st.booleans(), st.integers(0, 2)),
    st.tuples(st.just("act"), st.integers(0, 1)),
    st.tuples(st.just("sync"), st.integers(0, 1), st.booleans()),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=30))
def test_whatever_is_decided_made_and_sent_when_and_where_only_what_was_allowed_is_kept(new_world, story):
    with TemporaryDirectory() as folder, new_world(Path(folder)) as world:
        phones, oracle = [world.phone(), world.phone()], Oracle()
        for phone in phones:
            phone.log_in("login:ada", purposes=())
        facts, made, kept = [[], []], [[], []], 0
        for what, which, *how in [*story, ("sync", 0, True), ("sync", 1, True)]:
            phone = phones[which]
            world.pass_hours(0.5)
            now = world.clock.now_ms()
            if what == "decide":
                granted, behind = how
                facts[which].append((now, decided(phone, granted, max(oracle.standing.version - behind, 0))))
            elif what == "act":
                made[which].append((now, phone.event()))
            else:
                some = how[0]
                sent = made[which] if some else made[which][::2]
                for made_ms, fact in facts[which]:
                    oracle.take(made_ms, fact)
                answer = phone.sync(*(event for _, event in sent), consents=tuple(fact for _, fact in facts[which]))
                expected = [oracle.keeps(made_ms) for made_ms, _ in sent]
                assert [kind is ACCEPTED for kind in kinds(answer)] == expected
                kept += sum(expected)
                made[which] = [one for one in made[which] if one not in sent]
                facts[which].clear()
        assert census.count_events(world.store) == kept
