"""How far a person's devices agree, against a plain reckoning, and when a device is asked to come back."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, update

from contracts.consent import Purpose
from contracts.events import EventType
from sync_server import people, tables
from sync_server.consistency import ACTIVE_MS, Consistency, of_everybody, of_people, retry_after_s


def person(world, owner) -> int:
    with world.store.read() as connection:
        return people.find(connection, world.store.keys, [owner])[owner].person_id


def measured(world, owner="login:ada") -> Consistency:
    with world.store.read() as connection:
        return of_people(connection, {person(world, owner)}, world.clock.now_ms()).get(person(world, owner))


def everybody(world) -> Consistency:
    with world.store.read() as connection:
        return of_everybody(connection, world.clock.now_ms())


class Holder:
    """A phone that keeps the version it is told."""

    def __init__(self, world, login) -> None:
        self.device, self.login = world.phone(), login
        self.version = self.device.log_in(login).profile.version

    def sync(self, *events):
        answer = self.device.sync(*events, owner=self.login, profile_version=self.version)
        self.version = answer.profile.version if answer.profile else self.version
        return answer

    def view(self):
        return self.sync(self.device.event("milk", EventType.VIEW))


def test_a_device_is_consistent_until_another_one_changes_the_profile(world):
    one, other = Holder(world, "login:ada"), Holder(world, "login:ada")
    one.sync()
    assert measured(world) == everybody(world) == Consistency(2, 2)
    one.view()
    assert measured(world) == Consistency(2, 1)
    assert measured(world).share == 0.5
    other.sync()
    assert measured(world) == Consistency(2, 2)


def test_what_a_card_buys_at_a_till_makes_the_phone_lag_and_the_till_does_not_count(world):
    phone, till = Holder(world, "login:ada"), world.till()
    token = world.provider.token("login:ada", "card:1")
    phone.device.sync(owner="login:ada", identity_tokens=(token,))
    phone.sync()
    assert measured(world) == Consistency(1, 1)
    till.sync(till.event("bread", owner="card:1"))
    assert measured(world, "card:1") == Consistency(1, 0)


def test_devices_that_are_long_gone_revoked_or_another_s_do_not_count(world):
    one, gone, revoked = (Holder(world, "login:ada") for _ in range(3))
    stranger = Holder(world, "login:bob")
    world.clock.time_ms += ACTIVE_MS
    for holder in (one, revoked, stranger):
        holder.sync()
    one.view()
    with world.store.write() as connection:
        mine = tables.devices.c.device_id == revoked.device.device_id
        connection.execute(update(tables.devices).where(mine).values(revoked_at=1))
    assert (measured(world), measured(world, "login:bob")) == (Consistency(1, 1), Consistency(1, 1))
    gone.sync()
    assert (measured(world), everybody(world)) == (Consistency(2, 2), Consistency(3, 3))
    with world.store.read() as connection:
        assert of_people(connection, (), world.clock.now_ms()) == {}
    world.clock.time_ms += ACTIVE_MS
    assert (measured(world), everybody(world), everybody(world).share) == (None, Consistency(), 1.0)


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["view", "sync", "leave", "opt out"])), max_size=14),
)
def test_the_figure_is_what_counting_finds(new_world, moves):
    """Five phones of two people: after any moves, the share is that of versions held that are the newest told."""
    with TemporaryDirectory() as folder, new_world(Path(folder)) as world:
        logins = ["login:ada", "login:ada", "login:ada", "login:bob", "login:bob"]
        holders = [Holder(world, login) for login in logins]
        using = dict(enumerate(logins))
        for number, move in moves:
            holder = holders[number]
            if move == "leave":
                holder.device.sync(owner=None)
                using.pop(number, None)
                continue
            if move == "view":
                holder.view()
            elif move == "sync":
                holder.sync()
            else:
                fact = holder.device.fact(Purpose.ANALYTICS, granted=False, cites=len(moves))
                answer = holder.device.sync(owner=holder.login, profile_version=holder.version, consents=(fact,))
                holder.version = answer.profile.version if answer.profile else holder.version
            using[number] = holder.login
        total = Consistency()
        for login in {*logins}:
            with world.store.read() as connection:
                family = people.families(connection, {person(world, login)})[person(world, login)]
            newest = max(max(owner.stamp, owner.profile_stamp) for owner in family)
            mine = [holders[number] for number, owner in using.items() if owner == login]
            expected = Consistency(len(mine), sum(holder.version == newest for holder in mine))
            assert (measured(world, login) or Consistency()) == expected
            total = Consistency(total.devices + expected.devices, total.current + expected.current)
        assert everybody(world) == total


def test_a_quiet_device_comes_back_later_each_time_and_soon_once_something_happens(world):
    phone, longest = Holder(world, "login:ada"), world.settings.retry_longest_s
    waits = []
    for _ in range(8):
        waits.append(phone.sync().retry_after_s)
        world.clock.time_ms += waits[-1] * 1000
    assert waits[0] == world.settings.retry_idle_s
    assert waits == sorted(waits)
    assert waits[-1] == longest
    assert phone.view().retry_after_s == world.settings.retry_changed_s
    assert phone.sync().retry_after_s == world.settings.retry_idle_s


def test_a_device_whose_person_s_other_devices_lag_behind_comes_back_sooner(world):
    one, other = Holder(world, "login:ada"), Holder(world, "login:ada")
    one.sync()
    one.view()
    idle = world.settings.retry_idle_s
    assert one.sync().retry_after_s == idle // 2
    other.sync()
    assert one.sync().retry_after_s == idle


@given(st.integers(-(10**9), 10**12), st.floats(0, 1))
def test_waits_are_bounded_and_grow_with_quiet_and_agreement(world_settings, quiet_ms, share):
    wait = retry_after_s(world_settings, quiet_ms, share)
    assert world_settings.retry_changed_s <= wait <= world_settings.retry_longest_s
    assert wait <= retry_after_s(world_settings, quiet_ms + 10**6, share)
    assert wait <= retry_after_s(world_settings, quiet_ms, 1.0)


@pytest.fixture(scope="module")
def world_settings(new_world):
    with TemporaryDirectory() as folder, new_world(Path(folder)) as world:
        return world.settings


def test_the_store_is_asked_once_for_a_group_and_never_where_all_have_changed(world):
    holder = Holder(world, "login:ada")
    holder.sync()
    asked: list[str] = []
    engine = world.store._engine
    event.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: asked.append(statement))

    def statements():
        found = [one for one in asked if "profile_version" in one and "sum(" in one.lower()]
        asked.clear()
        return len(found)

    holder.view()
    assert statements() == 0
    holder.sync()
    assert statements() == 1
