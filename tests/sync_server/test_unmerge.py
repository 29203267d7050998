"""An unmerge: two sides as if never linked, apart for good, with everything that was told about the whole."""

import json

import pytest
from sqlalchemy import select

from contracts.errors import UnknownError, WireError
from contracts.outbox import Merged, ProfileChanged, Unmerged
from sync_server import census, people
from sync_server.links import evidence
from sync_server.sql_store import open_store
from sync_server.tables import audit_log
from sync_server.turn import take_turn
from sync_server.unmerge import lift, unmerge, why
from tests.sync_server.conftest import STAFF_TOKEN

ADA, BOB, CARD = "login:ada", "login:bob", "card:1"


def handles(world, *names):
    with world.store.read() as connection:
        found = people.find(connection, world.store.keys, names)
    return tuple(found[name].handle for name in names)


def apart(world, one_side, other_side, store=None):
    with take_turn(store or world.store) as turn:
        return unmerge(turn, "staff eve", handles(world, *one_side), handles(world, *other_side))


def same(world, *names):
    return len(set(census.persons(world.store, names).values())) == 1


@pytest.fixture
def merged(world):
    """Ada and Bob, each with a phone and events, wrongly linked over a card."""
    ada, bob, till = world.phone(), world.phone(), world.till()
    ada.log_in(ADA)
    bob.log_in(BOB)
    ada.sync(ada.event("ada's"))
    bob.sync(bob.event("bob's", order_id="order"))
    before = census.profile(world.store, ADA), census.profile(world.store, BOB)
    world.pass_hours(1)
    ada.sync(identity_tokens=(world.provider.token(ADA, CARD),))
    world.pass_hours(1)
    bob.sync(identity_tokens=(world.provider.token(BOB, CARD),))
    assert same(world, ADA, BOB, CARD)
    return ada, bob, till, before


def test_profiles_are_as_if_never_linked_and_both_devices_are_told(world, merged, held_profile):
    ada, bob, till, before = merged
    held = {ADA: held_profile(), BOB: held_profile()}
    for phone in (ada, bob):
        held[phone.owner].apply(phone.sync(owner=phone.owner).profile)
        assert set(held[phone.owner].summary.items) == {"ada's"}
        assert set(held[phone.owner].summary.orders) == {"order"}
    till.sync(till.event("by card", owner=CARD))
    found = apart(world, [ADA], [BOB])
    assert found.persons == tuple(sorted(handles(world, ADA, BOB), key=handles(world, ADA, BOB).index))
    assert census.profile(world.store, BOB) == before[1]
    assert set(census.profile(world.store, ADA).items) == {"ada's", "by card"}  # the card stays with its first link
    for phone in (ada, bob):
        delta = phone.sync(owner=phone.owner, profile_version=held[phone.owner].version).profile
        assert delta.base_version == 0
        held[phone.owner].apply(delta)
        assert held[phone.owner].summary == census.profile(world.store, phone.owner)
    assert ada.sync(owner=ADA, profile_version=held[ADA].version).profile is None


def test_later_evidence_and_late_events_do_not_join_them_until_staff_lift_it(world, merged):
    ada, bob, _, before = merged
    number = apart(world, [ADA], [BOB]).separation
    late = ada.event("late")
    for phone in (ada, bob):
        phone.sync(identity_tokens=(world.provider.token(ADA, BOB, CARD, "card:2"),))
    ada.sync(late)
    assert not same(world, ADA, BOB)
    assert same(world, ADA, CARD, "card:2")
    assert census.profile(world.store, BOB) == before[1]
    assert set(census.profile(world.store, ADA).items) == {"ada's", "late"}
    with take_turn(world.store) as turn:
        assert lift(turn, "staff eve", number) == handles(world, min((ADA, BOB), key=lambda one: order(world, one)))
    assert same(world, ADA, BOB, CARD, "card:2")
    with pytest.raises(UnknownError, match="not in force"), take_turn(world.store) as turn:
        lift(turn, "staff eve", number)


def order(world, name):
    with world.store.read() as connection:
        return people.find(connection, world.store.keys, [name])[name].id


def test_strangers_can_be_kept_apart_before_anything_links_them(world):
    phone = world.phone()
    phone.sync(identity_tokens=(world.provider.token(ADA), world.provider.token(BOB)))
    found = apart(world, [ADA], [BOB])
    assert (found.joined_at, found.published) == (0, ())
    phone.sync(identity_tokens=(world.provider.token(ADA, BOB),))
    assert not same(world, ADA, BOB)


def test_why_two_are_one_is_the_chain_of_links_with_time_and_device(world, merged):
    ada, bob, *_ = merged
    one, other, card = handles(world, ADA, BOB, CARD)
    now, hour = world.clock.now_ms(), 3_600_000
    with world.store.read() as connection:
        chain = why(connection, one, other)
        assert [(step.one, step.other) for step in chain] == [(one, card), (card, other)]
        assert [(step.linked_at, step.device_id) for step in chain] == [
            (now - hour, ada.device_id),
            (now, bob.device_id),
        ]
        assert why(connection, one, one) == ()
        with pytest.raises(UnknownError, match="no owner"):
            why(connection, one, "nobody")
    apart(world, [ADA], [BOB])
    with world.store.read() as connection:
        assert why(connection, one, other) == ()


def test_what_was_told_outward_since_the_link_is_listed_and_the_unmerge_is_told(world):
    store = open_store(world.settings.database_url, world.clock, world.settings.keys, publishes=True)
    world.wire._store = store
    phone = world.phone()
    phone.log_in(ADA)
    phone.sync(phone.event())
    world.pass_hours(1)
    linked_at = world.clock.now_ms()
    phone.sync(phone.event(), identity_tokens=(world.provider.token(ADA, BOB),))
    found = apart(world, [ADA], [BOB], store)
    kept, gone = sorted(handles(world, ADA, BOB), key=lambda handle: handle != found.persons[0])
    told = [one.message for one in found.published]
    assert found.joined_at == linked_at
    assert {one.at for one in told} == {linked_at}
    assert {type(one) for one in told} == {Merged, ProfileChanged, Unmerged}
    assert next(one for one in told if isinstance(one, Merged)).absorbed == (gone,)
    assert next(one for one in told if isinstance(one, Unmerged)).parts == (kept, gone)
    store.close()


def test_an_unmerge_and_its_end_are_on_the_audit_log(world, merged):
    number = apart(world, [ADA], [BOB, CARD]).separation
    with take_turn(world.store) as turn:
        lift(turn, "staff zoe", number)
    with world.store.read() as connection:
        rows = connection.execute(select(audit_log).order_by(audit_log.c.number)).all()
    noted = [(row.actor, row.action) for row in rows if row.action in ("unmerge", "lift")]
    assert noted == [("staff eve", "unmerge"), ("staff zoe", "lift")]
    details = [json.loads(row.detail) for row in rows if row.action == "unmerge"]
    assert details[0]["one_side"] == list(handles(world, ADA))
    assert set(details[0]["other_side"]) == set(handles(world, BOB, CARD))


def test_sides_that_make_no_sense_are_refused(world, merged):
    for one, other in (([], [BOB]), ([ADA], []), ([ADA, CARD], [CARD])):
        with pytest.raises(WireError, match="each side"):
            apart(world, one, other)
    with pytest.raises(UnknownError, match="no owner 'nobody'"), take_turn(world.store) as turn:
        unmerge(turn, "staff eve", ["nobody"], handles(world, ADA))
    assert same(world, ADA, BOB)


def test_overlapping_separations_hold_each_until_its_own_end(world, merged):
    first = apart(world, [ADA], [BOB]).separation
    second = apart(world, [ADA], [CARD]).separation
    assert not same(world, ADA, CARD)
    assert same(world, BOB, CARD)
    with take_turn(world.store) as turn:
        lift(turn, "staff eve", first)
    assert not same(world, ADA, BOB)  # over the card, which the second one keeps from Ada
    with take_turn(world.store) as turn:
        lift(turn, "staff eve", second)
        assert evidence(turn.connection, [order(world, ADA)]).apart == []
    assert same(world, ADA, BOB, CARD)


def test_staff_do_it_over_http(http_world):
    http = http_world.wire.http
    token, wrong = ({"authorization": f"Bearer {name}"} for name in (STAFF_TOKEN, "nobody's token"))
    body = {"one_side": ["0" * 32], "other_side": ["1" * 32]}
    for headers, status in ((token, 404), (wrong, 401), ({}, 401)):
        assert http.post("/v1/people/unmerge", json=body, headers=headers).status_code == status
        assert http.post(f"/v1/people/separations/{2**70}/lift", headers=headers).status_code == status
        assert http.get("/v1/people/why?one=%00&other=b", headers=headers).status_code == status
    assert http.post("/v1/people/unmerge", json=body | {"one_side": []}, headers=token).status_code == 400
    assert http.get("/v1/people/why?one=a", headers=token).status_code == 400
    phone = http_world.phone()
    phone.sync(identity_tokens=(http_world.provider.token(ADA, BOB),))
    store = open_store(http_world.settings.database_url, keys=http_world.settings.keys)
    with store.read() as connection:
        found = people.find(connection, store.keys, [ADA, BOB])
    store.close()
    one, other = found[ADA].handle, found[BOB].handle
    asked = {"one": one, "other": other}
    assert len(http.get("/v1/people/why", params=asked, headers=token).json()["links"]) == 1
    sides = {"one_side": [one], "other_side": [other]}
    number = http.post("/v1/people/unmerge", json=sides, headers=token).json()["separation"]
    assert http.get("/v1/people/why", params=asked, headers=token).json() == {"links": []}
    lifted = http.post(f"/v1/people/separations/{number}/lift", headers=token)
    assert lifted.json()["persons"] == [min((one, other), key=lambda handle: handle != lifted.json()["persons"][0])]
