"""What a phone is told about its person: merged over owners, in deltas, to proven owners only."""

import pytest

from contracts.consent import Consent, Purpose
from contracts.events import EventType
from contracts.summary import EMPTY
from sync_server import census


@pytest.fixture
def held(held_profile):
    return held_profile()


def test_a_card_used_at_a_till_and_a_login_on_a_phone_are_one_profile(world, held):
    phone, till = world.phone(), world.till()
    phone.log_in("login:ada", "card:1")
    till.sync(till.event("bread", owner="card:1"))
    held.apply(phone.sync(phone.event("milk"), owner="login:ada", known_owners=("card:1",)).profile)
    assert set(held.summary.items) == {"milk", "bread"}
    assert set(held.owners) == {"login:ada", "card:1"}
    assert census.profile(world.store, "card:1") == census.profile(world.store, "login:ada") == held.summary
    assert (census.count_profiles(world.store), census.count_merged_profiles(world.store)) == (1, 1)


def test_what_a_card_bought_before_it_was_linked_is_merged_too(world, held):
    phone, till = world.phone(), world.till()
    consent = till.fact(Purpose.PERSONALIZATION, owner="card:1")
    till.sync(till.event("bread", owner="card:1"), till.event("bread", owner="card:2"), consents=(consent,))
    held.apply(phone.log_in("login:ada").profile)
    assert held.summary == EMPTY
    link = world.provider.token("login:ada", "card:1")
    held.apply(phone.sync(owner="login:ada", profile_version=held.version, identity_tokens=(link,)).profile)
    assert set(held.summary.items) == {"bread"}
    assert held.summary.items["bread"].weights == census.profile(world.store, "card:1").items["bread"].weights


def test_links_are_transitive_and_the_smallest_person_stays(world):
    one, two = world.phone(), world.phone()
    one.log_in("login:a", "card:1")
    two.log_in("login:b", "card:2")
    names = ("login:a", "card:1", "login:b", "card:2")
    people = census.persons(world.store, names)
    assert people["login:a"] == people["card:1"] != people["login:b"] == people["card:2"]
    one.log_in("login:a", "card:2")
    assert census.persons(world.store, names) == dict.fromkeys(names, min(people.values()))


def test_a_delta_holds_only_what_changed_and_nothing_when_nothing_did(world, held):
    phone, till = world.phone(), world.till()
    phone.log_in("login:ada", "card:1")
    order = {"order_id": "order-1", "owner": "card:1"}
    till.sync(till.event("bread", **order))
    held.apply(phone.sync(phone.event("milk"), phone.event("eggs"), owner="login:ada").profile)
    assert phone.sync(owner="login:ada", profile_version=held.version).profile is None
    world.pass_hours(3)
    till.sync(till.event("milk", EventType.VIEW, owner="card:1"), till.event("butter", **order))
    delta = phone.sync(owner="login:ada", profile_version=held.version).profile
    assert delta.base_version == held.version < delta.version
    assert set(delta.items) == {"milk"}
    assert set(delta.orders["order-1"]) == {"bread", "butter"}
    held.apply(delta)
    assert held.summary == census.profile(world.store, "login:ada")


def test_a_version_that_is_not_known_gets_the_whole_profile(world):
    phone = world.phone()
    phone.log_in("login:ada")
    phone.sync(phone.event())
    whole = phone.sync(owner="login:ada").profile
    assert phone.sync(owner="login:ada", profile_version=whole.version + 1000).profile == whole
    assert phone.sync(owner="login:ada", profile_version=whole.version, generation="another").profile == whole


def test_only_a_proven_current_owner_is_told_a_profile(world):
    ada, thief = world.phone(), world.phone()
    ada.log_in("login:ada")
    ada.sync(ada.event())
    assert thief.sync(owner="login:ada").profile is None
    assert ada.sync().profile is None
    assert world.till().sync(owner="card:1").profile is None


def test_two_people_on_one_tablet_stay_apart(world, held):
    tablet = world.phone()
    tablet.log_in("login:ada")
    held.apply(tablet.sync(tablet.event("milk"), owner="login:ada").profile)
    answer = tablet.log_in("login:bob")
    held.apply(answer.profile)
    assert (answer.profile.base_version, held.summary) == (0, EMPTY)
    assert tablet.sync(owner="login:ada", profile_version=answer.profile.version).profile.base_version == 0
    assert len(set(census.persons(world.store, ["login:ada", "login:bob"]).values())) == 2


def test_without_consent_the_phone_is_told_the_decisions_and_forgets_the_rest(world, held):
    phone, other = world.phone(), world.phone()
    phone.log_in("login:ada")
    held.apply(phone.sync(phone.event(), owner="login:ada").profile)
    other.log_in("login:ada", purposes=())
    other.sync(consents=(other.fact(Purpose.PERSONALIZATION, granted=False, cites=1),))
    answer = phone.sync(owner="login:ada", profile_version=held.version)
    held.apply(answer.profile)
    assert held.summary == EMPTY
    assert answer.profile.consents[Purpose.PERSONALIZATION] == Consent(version=2, granted=False)
    assert answer.profile.consents[Purpose.ANALYTICS] == Consent(version=1, granted=True)
    opt_in = phone.fact(Purpose.PERSONALIZATION, cites=2)
    held.apply(phone.sync(owner="login:ada", profile_version=held.version, consents=(opt_in,)).profile)
    assert set(held.summary.items) == {"milk"}


def test_a_device_comes_back_sooner_while_something_changes(world):
    phone = world.phone()
    assert phone.sync().retry_after_s == world.settings.retry_idle_s
    phone.log_in("login:ada")
    version = phone.sync(owner="login:ada").profile.version
    assert phone.sync(owner="login:ada", profile_version=version).retry_after_s == world.settings.retry_idle_s
    assert phone.sync(phone.event()).retry_after_s == world.settings.retry_changed_s
