"""What happens to people in a sync is told outward, by handle."""

import pytest

from contracts.consent import Purpose
from contracts.outbox import ConsentChanged, Merged, ProfileChanged, kind_of
from sync_server import outbox
from sync_server.people import find
from sync_server.sql_store import open_store


@pytest.fixture
def told(world):
    """The world with a relay to come; answers with what was told since it was last asked."""
    world.store.close()
    world.store = open_store(world.settings.database_url, world.clock, world.settings.keys, publishes=True)
    world.wire = type(world.wire)(world.store, world.settings)

    def since():
        with world.store.write() as connection:
            rows = outbox.pending(connection, 1000)
            outbox.mark_published(connection, rows[-1].id if rows else 0)
            return [row.message for row in rows]

    return since


def handle(world, name):
    with world.store.read() as connection:
        return find(connection, world.settings.keys, [name])[name].handle


def test_decisions_and_purchases_are_told_and_a_sync_without_them_tells_nothing(world, told):
    phone = world.phone()
    phone.log_in("login:ada", purposes=(Purpose.PERSONALIZATION, Purpose.ANALYTICS))
    ada = handle(world, "login:ada")
    (decided,) = told()
    assert decided == ConsentChanged(
        handle=ada,
        version=decided.version,
        at=world.clock.now_ms(),
        allows=(Purpose.ANALYTICS, Purpose.PERSONALIZATION),
    )
    phone.sync(phone.event(), phone.event("bread"))
    (bought,) = told()
    assert bought == ProfileChanged(handle=ada, version=decided.version + 1, at=world.clock.now_ms())
    phone.sync()
    assert told() == []
    phone.sync(consents=(phone.fact(Purpose.ANALYTICS, granted=False),))
    (withdrawn,) = told()
    assert withdrawn.allows == (Purpose.PERSONALIZATION,)


def test_what_enters_no_profile_changes_none(world, told):
    phone = world.phone()
    phone.log_in("login:ada", purposes=(Purpose.ANALYTICS,))
    told()
    phone.sync(phone.event())
    assert told() == []


def test_a_link_is_told_with_who_was_absorbed_and_the_person_goes_on_under_one_handle(world, told):
    till, phone = world.till(), world.phone()
    till.owner = "card:1"
    till.sync(till.event())
    phone.log_in("login:ada")
    card, login = handle(world, "card:1"), handle(world, "login:ada")
    told()
    phone.log_in("login:ada", "card:1", purposes=())
    (merged,) = told()
    assert merged == Merged(handle=card, version=merged.version, at=merged.at, absorbed=(login,))
    phone.log_in("login:ada", "card:1", purposes=())
    assert told() == []  # it was so before
    phone.sync(phone.event())
    (changed,) = told()
    assert (kind_of(changed), changed.handle) == ("profile_changed", card)


def test_a_request_that_is_refused_tells_nothing(world, told):
    phone = world.phone()
    phone.log_in("login:ada")
    told()
    foreign = phone.fact(Purpose.ANALYTICS, owner="login:eve")
    token = world.provider.token("login:ada", "card:1")
    with pytest.raises(Exception, match="login"):
        phone.sync(identity_tokens=(token,), consents=(foreign,))
    assert told() == []
