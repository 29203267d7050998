"""Erasure: nothing of a person stays or comes back, and a fresh start is free."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from contracts.consent import Purpose
from contracts.errors import ConfigError, PermissionDenied, UnknownError
from contracts.identity import OwnerKind
from contracts.rounds import RoundUpdate
from contracts.summary import Summary
from contracts.sync import Heard, VerdictKind
from sync_server import audit_log, census, erasure, identifier_rotation, person_export, rounds, tables
from sync_server.erasure_journal import Erasure, ErasureJournal, Mark, Reached
from sync_server.event_time import Fixed
from sync_server.people import Owner, find
from sync_server.turn import take_turn

ACCEPTED, REFUSED, CONFLICT = VerdictKind.ACCEPTED, VerdictKind.REFUSED, VerdictKind.CONFLICT


def kinds(response):
    return [verdict.kind for verdict in response.verdicts]


@pytest.fixture
def journal(world):
    return ErasureJournal(Path(world.settings.erasure_journal))


@pytest.fixture
def erase(world, journal):
    """Erase whoever an owner is."""

    def erase(name):
        with take_turn(world.store) as turn:
            person_id = find(turn.connection, turn.keys, [name])[name].person_id
            return erasure.erase(turn, journal, world.store.generation, person_id, "staff ada")

    return erase


def clocked(phone, purpose, granted=True, cites=0, **fields):
    clocks = {"decided_at": phone.world.clock.now_ms(), "boot_id": "boot", "uptime_ms": phone.uptime_ms}
    return phone.fact(
        purpose, granted, cites, **({"fact_id": f"{purpose}/{phone.uptime_ms}/{cites}"} | clocks | fields)
    )


def consenting(phone):
    return tuple(clocked(phone, purpose) for purpose in Purpose)


def everything(store):
    """All rows of all tables, as text."""
    with store.read() as connection:
        return {
            table.name: [repr(tuple(row)) for row in connection.execute(select(table))]
            for table in tables.metadata.sorted_tables
        }


@pytest.fixture
def ada(world):
    """A person with a phone, a card and a past."""
    phone, till = world.phone(), world.till()
    phone.log_in("login:ada", "card:1")
    phone.sync(phone.event("milk", order_id="order-1"), phone.event("bread"))
    till.sync(till.event("eggs", owner="card:1"))
    phone.till = till
    return phone


def test_what_is_left_names_nobody_and_counts_nothing(world, ada, erase):
    handle = erase("login:ada").handles
    rows = everything(world.store)
    for table in ("owners", "links", "proofs", "consents", "consent_facts", "item_activities", "order_lines"):
        assert rows[table] == []
    text = json.dumps(rows)
    assert not [word for word in ("milk", "bread", "eggs", "order-1") if word in text]
    assert [one for one in handle if one in text] == [one for one in handle if one in json.dumps(rows["audit_log"])]
    assert census.count_events(world.store) == 0
    assert audit_log.verify(world.store).number == len(rows["audit_log"])


def test_another_person_keeps_all(world, ada, erase):
    bob = world.phone()
    bob.log_in("login:bob")
    ada.till.sync(
        ada.till.event("tea", owner="card:2"), consents=(ada.till.fact(Purpose.PERSONALIZATION, owner="card:2"),)
    )
    bob.sync(bob.event("coffee"))
    before = census.profile(world.store, "login:bob"), census.profile(world.store, "card:2")
    ada.till.sync(ada.till.event("eggs", owner="card:1"), ada.till.event("jam", owner="card:2"))
    erase("card:1")
    assert census.profile(world.store, "login:bob") == before[0] != Summary()
    assert set(census.profile(world.store, "card:2").items) == {"tea", "jam"}
    assert census.count_events(world.store) == 3


def test_what_was_taken_and_is_sent_again_is_in_conflict_and_then_refused_and_not_counted_twice(world, ada, erase):
    world.pass_hours(1)
    sent = ada.till.event("eggs", owner="card:1")
    ada.till.sync(sent)
    world.pass_hours(1)
    erase("card:1")
    world.pass_hours(1)
    answer = ada.till.sync(sent)
    assert kinds(answer) == [CONFLICT]
    renumbered = msgspec.structs.replace(sent, epoch=answer.epoch, seq=0)
    again = ada.till.sync(renumbered, epoch=answer.epoch)
    assert kinds(again) == [REFUSED]
    assert "erased" in again.verdicts[0].reason
    assert census.count_events(world.store) == 0


class TestFreshStart:
    @pytest.fixture
    def again(self, world, ada, erase):
        """The same person on a new phone, after the erasure."""
        world.pass_hours(1)
        self.late = ada.event("late", owner="login:ada")
        self.late_fact = clocked(ada, Purpose.PERSONALIZATION)
        world.pass_hours(1)
        erase("login:ada")
        world.pass_hours(1)
        again = world.phone()
        again.log_in("login:ada", purposes=())
        return again

    def test_it_begins_without_consent_and_with_an_empty_profile(self, world, again):
        assert kinds(again.sync(again.event())) == [REFUSED]
        world.pass_hours(1)
        assert kinds(again.sync(again.event("new"), consents=consenting(again))) == [ACCEPTED]
        assert set(census.profile(world.store, "login:ada").items) == {"new"}

    def test_the_past_stays_barred_on_every_device(self, world, ada, again):
        again.sync(consents=consenting(again))
        token = world.provider.token("login:ada", "card:1")
        unclear = ada.event("unclear", owner="login:ada", boot_id="earlier", occurred_at=world.clock.now_ms())
        assert kinds(ada.sync(self.late, unclear, identity_tokens=(token,))) == [REFUSED, REFUSED]  # wall clocks lie
        world.pass_hours(1)
        made_since = ada.event("since", owner="login:ada", boot_id="earlier", occurred_at=world.clock.now_ms())
        assert kinds(ada.sync(made_since, identity_tokens=(token,))) == [ACCEPTED]  # by its number
        assert set(census.profile(world.store, "login:ada").items) == {"since"}

    def test_an_opt_in_of_before_does_not_count(self, world, ada, again):
        token = world.provider.token("login:ada")
        ada.sync(consents=(self.late_fact,), identity_tokens=(token,))
        assert kinds(ada.sync(ada.event(owner="login:ada"), identity_tokens=(token,))) == [REFUSED]

    def test_a_request_that_comes_twice_brings_no_old_opt_in_back(self, world, ada, again, erase):
        """The second time, its device has synced since the erasure: with that very request."""
        slow = ada.request()
        world.pass_hours(1)
        fact = clocked(ada, Purpose.ANALYTICS, owner="login:ada", boot_id="earlier", decided_at=2**41)
        world.pass_hours(1)
        erase("login:ada")
        world.pass_hours(1)
        answer = world.wire.sync(ada.device_id, slow, "application/json")
        ada.heard = Heard(server_time=answer.server_time, boot_id="boot", uptime_ms=ada.uptime_ms)
        again.log_in("login:ada", purposes=())
        world.pass_hours(1)
        request = ada.request(consents=(fact,), identity_tokens=(world.provider.token("login:ada"),))
        for _ in range(2):
            world.wire.sync(ada.device_id, request, "application/json")
            world.pass_hours(1)
        assert kinds(again.sync(again.event())) == [REFUSED]

    def test_what_was_made_while_the_last_request_was_under_way_stays_barred(self, world, ada, again, erase):
        slow = ada.request()
        world.pass_hours(1)
        meanwhile = ada.event("meanwhile", owner="login:ada", boot_id="earlier", occurred_at=2**41)
        world.pass_hours(1)
        erase("login:ada")
        world.pass_hours(1)
        world.wire.sync(ada.device_id, slow, "application/json")
        again.log_in("login:ada", purposes=())
        world.pass_hours(1)
        again.sync(consents=consenting(again))
        world.pass_hours(1)
        token = world.provider.token("login:ada")
        since = ada.event("since", owner="login:ada")
        assert kinds(ada.sync(meanwhile, since, identity_tokens=(token,))) == [REFUSED, ACCEPTED]

    def test_the_bar_outlives_another_erasure(self, world, again, erase, journal):
        world.pass_hours(1)
        erase("login:ada")
        assert kinds(again.sync(self.late, identity_tokens=(world.provider.token("login:ada"),))) != [ACCEPTED]


@pytest.mark.parametrize("clocks", [{}, {"decided_at": None, "boot_id": "", "uptime_ms": 0}])
def test_an_opt_in_of_before_does_not_count_though_answers_were_lost_and_the_phone_rebooted(world, ada, erase, clocks):
    """The sync that passed it over was not heard, and after a reboot no clock tells that it is older than that."""
    fact = clocked(ada, Purpose.PERSONALIZATION, **clocks)
    token = (world.provider.token("login:ada"),)
    world.pass_hours(1)
    erase("login:ada")
    world.pass_hours(1)
    heard = ada.heard
    ada.sync(consents=(fact,), identity_tokens=token)  # its answer is lost
    world.pass_hours(1)
    ada.sync(consents=(fact,), identity_tokens=token, heard=heard, boot_id="after a reboot", uptime_ms=5)
    ada.sync(consents=(fact,), identity_tokens=token, heard=None, boot_id="after another", uptime_ms=5)
    world.pass_hours(1)
    assert kinds(ada.sync(ada.event(owner="login:ada"), identity_tokens=token)) == [REFUSED]
    world.pass_hours(1)
    since = clocked(ada, Purpose.PERSONALIZATION)  # made after an answer that was heard
    ada.sync(consents=(since,), identity_tokens=token, boot_id="one more", uptime_ms=5)
    assert kinds(ada.sync(ada.event(owner="login:ada"), identity_tokens=token)) == [ACCEPTED]


def test_a_tombstone_holds_under_a_rotated_identifier_key(world, ada, erase):
    def use(*versions):
        some = {version: keys[version] for version in versions}
        world.settings = msgspec.structs.replace(world.settings, identifier_keys=some)
        world.open_again()

    keys = {1: world.settings.identifier_keys[1], 2: bytes(range(32))}
    world.pass_hours(1)
    late, late_fact = ada.event("late", owner="login:ada"), clocked(ada, Purpose.PERSONALIZATION)
    world.pass_hours(1)
    erase("login:ada")
    world.pass_hours(1)
    use(1, 2)
    identifier_rotation.activate(world.store)
    ada.sync(consents=(late_fact,))  # her name is seen, and the tombstone goes under the key in force
    use(2)
    token = (world.provider.token("login:ada"),)
    (refused,) = ada.sync(late, consents=(late_fact,), identity_tokens=token).verdicts
    assert (refused.kind, refused.reason) == (REFUSED, erasure.ERASED)
    world.pass_hours(1)
    assert kinds(ada.sync(ada.event("new"), consents=consenting(ada))) == [ACCEPTED]


class TestOtherDevices:
    def test_they_are_told_to_forget_until_they_have(self, world, ada, erase, held_profile):
        version = ada.sync(owner="login:ada").profile.version
        erase("login:ada")
        world.pass_hours(1)
        token = (world.provider.token("login:ada", "card:1"),)
        for _ in range(2):  # the first answer may be lost
            told = ada.sync(owner="login:ada", profile_version=version, identity_tokens=token).profile
            assert (told.erased, told.owner, told.base_version) == (True, "login:ada", 0)
        assert everything(world.store)["owners"] == []
        ada.owner = "anonymous:new"
        fresh = ada.sync(owner="anonymous:new")
        assert fresh.profile is None or not fresh.profile.erased
        assert not ada.sync(owner="anonymous:new", profile_version=7).profile.erased

    def test_a_copy_of_a_device_that_was_told_is_told_too(self, world, ada, erase):
        """A restored backup, say: the server knows of one device that has forgotten already."""
        version = ada.sync(owner="login:ada").profile.version
        erase("login:ada")
        for _ in range(2):
            assert ada.sync(owner="anonymous:new").profile is not None
        assert ada.sync(owner="login:ada", profile_version=version).profile.erased
        assert not ada.sync(owner="login:ada").profile  # holds nothing

    def test_both_copies_of_a_cloned_phone_are_told(self, world, ada, erase):
        version = ada.sync(owner="login:ada").profile.version
        fact = clocked(ada, Purpose.ANALYTICS, granted=False)
        erase("login:ada")
        world.pass_hours(1)
        assert ada.sync(owner="login:ada", profile_version=version).profile.erased
        ada.sync(owner="anonymous:new")
        world.pass_hours(1)
        unaware = clocked(ada, Purpose.ANALYTICS, granted=False, cites=1)
        for _ in range(2):  # the copy, until it has forgotten
            told = ada.sync(owner="login:ada", profile_version=version, consents=(fact, unaware)).profile
            assert (told.erased, told.owner, told.base_version) == (True, "login:ada", 0)
        fresh = ada.sync(owner="anonymous:of the copy").profile
        assert fresh is None or not fresh.erased

    def test_a_copy_that_shows_a_token_or_has_an_anonymous_session_starts_with_an_empty_profile(self, world, erase):
        phone = world.phone()
        phone.sync(consents=tuple(phone.fact(purpose) for purpose in Purpose), owner=phone.owner)
        version = phone.sync(phone.event("milk"), owner=phone.owner).profile.version
        erase(phone.owner)
        world.pass_hours(1)
        assert phone.sync(owner=phone.owner, profile_version=version).profile.erased
        phone.sync(owner="anonymous:new")
        told = phone.sync(owner=phone.owner, profile_version=version).profile
        assert (told.base_version, told.items, told.erased) == (0, {}, False)

    def test_a_decision_still_on_its_way_does_not_keep_a_device_from_syncing(self, world, ada, erase):
        version = ada.sync(owner="login:ada").profile.version
        fact = clocked(ada, Purpose.ANALYTICS, granted=False)
        erase("login:ada")
        world.pass_hours(1)
        assert ada.sync(owner="login:ada", profile_version=version, consents=(fact,)).profile.erased
        shared = world.phone()
        shared.log_in("login:bob")
        with pytest.raises(PermissionDenied):  # who synced since has no such excuse
            shared.sync(consents=(shared.fact(Purpose.ANALYTICS, owner="login:ada"),))

    def test_events_of_others_on_the_device_are_taken(self, world, ada, erase):
        version = ada.sync(owner="login:ada").profile.version
        ada.sync(owner="login:ada", identity_tokens=(world.provider.token("login:bob"),))
        ada.owner = "login:bob"
        ada.sync(consents=consenting(ada))
        erase("login:ada")
        assert kinds(ada.sync(ada.event(), owner="login:ada", profile_version=version)) == [ACCEPTED]


def test_open_tasks_are_withdrawn_and_nobody_is_enrolled(world, ada, erase):
    ada.sync(owner="login:ada")
    (person,) = rounds.enrolled_people(world.store)
    task = {"bundle_version": 1, "adapter": bytes(8), "clipping_norm": 1.0, "learning_rate": 0.1, "epochs": 1}
    rounds.open_round(world.store, "r", "g", [person], **task, deadline=world.clock.now_ms() + 10**6)
    handed_out = ada.sync(owner="login:ada", bundle_version=1).task
    assert rounds.submit(world.store, RoundUpdate(task_id=handed_out.task_id, delta=bytes(8))).accepted
    erase("login:ada")
    assert rounds.enrolled_people(world.store) == []
    assert rounds.collect(world.store, "r", "g") == []
    assert not rounds.submit(world.store, RoundUpdate(task_id=handed_out.task_id, delta=bytes(8))).accepted


def test_nobody_is_erased_whom_nobody_knows(world, journal):
    with pytest.raises(UnknownError), take_turn(world.store) as turn:
        erasure.erase(turn, journal, world.store.generation, 77, "staff ada")
    assert journal.read() == []


class TestJournal:
    LINES = (
        Mark(Reached("g", 1)),
        Erasure("1", 5, ("h",), (), Reached("g", 2)),
        Mark(Reached("g", 3)),
    )

    def test_lines_come_back_and_one_cut_short_is_passed_over(self, tmp_path):
        journal = ErasureJournal(tmp_path / "journal")
        for line in self.LINES:
            journal.append(line)
        whole = (tmp_path / "journal").read_bytes()
        assert journal.read() == list(self.LINES)
        for cut in range(1, 20):
            (tmp_path / "journal").write_bytes(whole[:-cut])
            assert journal.read() == list(self.LINES[: 2 if cut > 1 else 3])
        journal.append(self.LINES[0])
        assert journal.read() == [*self.LINES[:2], self.LINES[0]]  # and at every later start
        (tmp_path / "journal").write_bytes(whole.replace(b"mark", b"m\xff", 1))
        with pytest.raises(ConfigError, match="line 1"):
            journal.read()

    def test_a_folder_that_is_missing_is_named(self, tmp_path):
        with pytest.raises(ConfigError, match="no folder"):
            ErasureJournal(tmp_path / "missing" / "journal")


def test_an_export_holds_all_of_a_person_and_nothing_of_others(world, ada):
    bob = world.phone()
    bob.log_in("login:bob")
    bob.sync(bob.event("coffee"))
    with take_turn(world.store) as turn:
        known = find(turn.connection, turn.keys, ["login:ada", "card:1"])
        held = person_export.export(turn, known["card:1"].person_id, "staff ada")
    assert {owner.handle: owner.kind for owner in held.owners} == {one.handle: one.kind for one in known.values()}
    assert [event.payload["item_id"] for event in held.events] == ["milk", "bread", "eggs"] or {
        event.payload["item_id"] for event in held.events
    } == {"milk", "bread", "eggs"}
    assert held.summaries[known["card:1"].handle].items.keys() == {"eggs"}
    assert {decision.purpose for decision in held.decisions} == set(Purpose)
    assert {device.device_id for device in held.devices} == {ada.device_id}
    assert [set(link.owners) for link in held.links] == [{one.handle for one in known.values()}]
    assert held.audit[-1].action == "export"
    text = msgspec.json.encode(held).decode()
    assert "coffee" not in text
    assert "login:ada" not in text


def test_what_may_have_been_made_before_an_erasure_is_barred() -> None:
    erased = Owner(1, OwnerKind.LOGIN, "handle", None, 1, 0, 0, not_before=100)
    assert erased.bars(Fixed(time_ms=110, uncertain=True, earliest_ms=100, cautious_ms=110))
    assert not erased.bars(Fixed(time_ms=110, uncertain=True, earliest_ms=101, cautious_ms=110))
    assert not replace(erased, not_before=0).bars(Fixed(time_ms=0, uncertain=True, earliest_ms=0, cautious_ms=0))


def test_an_erasure_that_failed_and_was_done_again_spares_who_came_back(world, tmp_path):
    """Its line stays in the journal, and every start looks whether the store has it."""
    phone, journal = world.phone(), ErasureJournal(tmp_path / "journal")
    phone.log_in("login:ada")
    phone.sync(phone.event("milk"))

    def erase_her(full: bool) -> None:
        with take_turn(world.store) as turn:
            person = find(turn.connection, turn.keys, ["login:ada"])["login:ada"].person_id
            erasure.erase(turn, journal, world.store.generation, person, "staff ada")
            if full:
                raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        erase_her(full=True)
    world.pass_hours(1)
    erase_her(full=False)
    world.pass_hours(1)
    again = world.phone()
    again.log_in("login:ada", purposes=())
    world.pass_hours(1)
    again.sync(again.event("bread"), consents=consenting(again))
    failed = journal.read()[0]
    with take_turn(world.store) as turn:
        assert erasure.replay(turn, [failed]) == 1
        bars = turn.connection.execute(select(tables.tombstones.c.erased_at)).scalars().all()
    assert max(bars) > failed.erased_at
    assert set(bars) == {max(bars)}
    assert set(census.profile(world.store, "login:ada").items) == {"bread"}
