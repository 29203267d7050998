"""What a till or a web shop shows is what the person's phone shows; where it cannot be, what is popular, and why."""

import threading
from datetime import UTC, datetime

import msgspec
import pytest
from sqlalchemy import update

from contracts import codec
from contracts.bundle import GOLDENS, TFLITE
from contracts.consent import Purpose
from contracts.errors import IntegrityError, PermissionDenied, WireError
from contracts.events import EventType
from contracts.recommendations import Fallback, RecommendationRequest, RecommendationResponse
from contracts.segments import FREQUENCY, SegmentDefinition
from contracts.summary import HOUR_MS
from export.inference.recommender import Recommender
from export.repository import publish
from export.verify import read_manifest
from sync_server import tables
from sync_server.active_bundle import RETRY_S, ActiveBundle, load_published
from sync_server.bundles import published_bundles
from sync_server.identity import Proof
from sync_server.recommendations import Recommendations

SEGMENTS = SegmentDefinition(  # who has ordered at most once, and who more often
    method="kmeans",
    window_hours=1000,
    features=(FREQUENCY,),
    mean=(0.0,),
    deviation=(1.0,),
    centres=((0.0,), (2.0,)),
    names=("late", "often"),
)


class Shop:
    """A world with a repository, whose bundles are asked."""

    def __init__(self, world, folder, write_model_bundle) -> None:
        self.world, self.folder, self._write = world, folder, write_model_bundle
        self.repository = folder / "repository"
        self.seconds = 0.0
        self.bundle = ActiveBundle(self.repository, lambda: self.seconds)
        self.recommendations = Recommendations(world.store, self.bundle)

    def publish(self, version, files=None, **fields):
        directory = self._write(self.folder / f"bundle-{version}", version, files, segments=SEGMENTS, **fields)
        publish(directory, self.repository, self.folder / "keys", now=datetime.now(UTC))
        return directory

    def archive(self, version):
        (found,) = (one for one in published_bundles(self.repository) if one.version == version)
        return self.repository / found.path

    def ask(self, device, owner=None, claims=(), **fields) -> RecommendationResponse:
        return self.recommendations.answer(device.device_id, RecommendationRequest(owner=owner, **fields), claims)


@pytest.fixture
def shop(world, tmp_path, write_model_bundle) -> Shop:
    return Shop(world, tmp_path, write_model_bundle)


def without_model(write_model_bundle, folder) -> dict[str, bytes]:
    """Files with which a bundle is whole, but its model answers its goldens wrongly."""
    directory = write_model_bundle(folder)
    goldens = codec.decode((directory / GOLDENS).read_bytes(), msgspec.Raw)
    wrong = msgspec.json.decode(goldens)
    wrong["answers"][TFLITE][1]["scores"][0] += 1.0
    return {GOLDENS: msgspec.json.encode(wrong)}


def test_every_channel_shows_what_the_phone_shows(shop, held_profile):
    directory = shop.publish(1)
    phone, till = shop.world.phone(), shop.world.till()
    phone.log_in("login:ada", "card:1")
    on_phone = Recommender(directory, read_manifest(directory), {"device_class": "phone"})
    held, bought = held_profile(), iter(range(1, 40))
    for _ in range(3):
        till.sync(*(till.event(f"item-{next(bought)}", owner="card:1", order_id="order-1") for _ in range(2)))
        views = (phone.event(f"item-{next(bought)}", EventType.VIEW) for _ in range(3))
        again = phone.event("item-1", owner="card:1", order_id="order-1")
        held.apply(phone.sync(*views, again, owner="login:ada", profile_version=held.version).profile)
        shop.world.pass_hours(30)
        now_ms = shop.world.clock.now_ms()
        for wish in ("anything", "new"):
            shown = on_phone.recommend(held.summary, now_ms, 10, wish)
            asked = shop.ask(till, "card:1", wish=wish)
            assert (asked.items, asked.scores, asked.source) == (shown.items, shown.scores, "model")
            assert shop.ask(phone, "login:ada", wish=wish) == asked
            assert (asked.fallback, asked.bundle_version, asked.profile_version) == (None, 1, held.version)
            assert asked.segment == on_phone.segment(held.summary, now_ms) == "late"
    assert shop.ask(till, "card:1", device_class="till").scores != shop.ask(till, "card:1").scores


def test_items_are_left_out_and_counted_as_asked(shop):
    shop.publish(1)
    till = shop.world.till()
    till.sync(till.event("item-7", owner="card:1"), consents=(till.fact(Purpose.PERSONALIZATION, owner="card:1"),))
    every = shop.ask(till, "card:1", count=100)
    assert len(every.items) == len(every.scores) == 10  # the bundle's candidates
    left = shop.ask(till, "card:1", count=3, exclude=(every.items[0], every.items[2], "of another shop"))
    assert (left.items, left.scores) == ((every.items[1], *every.items[3:5]), (every.scores[1], *every.scores[3:5]))
    popular = shop.ask(till, count=2, exclude=("item-1",))
    assert popular.items == ("item-2", "item-3")


def test_what_cannot_be_personal_is_popular_and_says_why(shop):
    phone, thief, till = shop.world.phone(), shop.world.phone(), shop.world.till()
    phone.log_in("login:ada", "card:1")
    phone.sync(phone.event("item-7"))
    assert shop.ask(till, "card:1") == RecommendationResponse(items=(), source="popularity", fallback=Fallback.NO_MODEL)
    shop.publish(1)
    till.sync(till.event("item-8", owner="card:2"))  # who never agreed to anything
    popular = tuple(f"item-{number}" for number in range(1, 11))
    for device, owner, why in (
        (till, None, Fallback.NO_OWNER),
        (thief, "login:ada", Fallback.NO_PROOF),
        (thief, "card:1", Fallback.NO_PROOF),
        (till, "login:ada", Fallback.NO_PROOF),
        (till, "card:2", Fallback.NO_CONSENT),
        (till, "card:3", Fallback.NO_HISTORY),
    ):
        found = shop.ask(device, owner)
        assert (found.items, found.fallback, found.segment) == (popular, why, "")
        assert (found.source, found.scores, found.bundle_version, found.profile_version) == ("popularity", (), 1, 0)
    assert shop.ask(till, "card:1").source == "model"
    phone.sync(consents=(phone.fact(Purpose.PERSONALIZATION, granted=False, cites=1),))
    assert shop.ask(till, "card:1").fallback is Fallback.NO_CONSENT  # the opt-out of one is the opt-out of all
    with pytest.raises(WireError):
        shop.ask(till, "nobody")


def test_a_history_that_the_bundle_does_not_know_gets_the_segment_s_popularity(shop):
    shop.publish(1)
    till = shop.world.till()
    fact = till.fact(Purpose.PERSONALIZATION, owner="card:1")
    till.sync(till.event("of another shop", owner="card:1", order_id="order-1"), consents=(fact,))
    found = shop.ask(till, "card:1", count=2)
    assert (found.items, found.fallback, found.segment) == (("item-50", "item-49"), Fallback.NO_HISTORY, "late")


def test_a_token_in_the_request_proves_the_owners_it_names_and_nothing_is_kept_of_it(shop):
    shop.publish(1)
    phone, web = shop.world.phone(), shop.world.till()
    phone.log_in("login:ada", "card:1")
    phone.sync(phone.event("item-7"))
    claims = (Proof("login:ada", ("card:1",)),)
    assert shop.ask(web, "login:ada", claims).source == "model"
    assert shop.ask(web, "login:ada").fallback is Fallback.NO_PROOF
    assert shop.ask(shop.world.phone(), "card:1", claims).source == "model"


def test_an_answer_is_kept_until_profile_hour_or_bundle_change(shop):
    shop.publish(1)
    small = Recommendations(shop.world.store, shop.bundle, max_cached=2)
    till = shop.world.till()
    facts = tuple(till.fact(Purpose.PERSONALIZATION, owner=f"card:n{number}") for number in range(3))
    till.sync(*(till.event(f"item-{number + 3}", owner=f"card:n{number}") for number in range(3)), consents=facts)

    def kept(owner="card:n0"):
        small.answer(till.device_id, RecommendationRequest(owner=owner), ())
        return list(small._cached.values())

    (first,) = kept()
    assert kept()[-1] is first
    till.sync(till.event("item-30", owner="card:1"))
    assert kept()[-1] is first
    till.sync(till.event("item-30", owner="card:n0"))
    changed = kept()[-1]
    assert changed is not first
    shop.world.pass_hours(1)
    later = kept()[-1]
    assert later is not changed
    shop.publish(2)
    assert kept()[-1] is not later
    assert len(kept("card:1")) == len(kept("card:2")) == 2


def test_a_new_bundle_is_taken_and_a_damaged_one_is_left_until_it_is_put_right(shop):
    till = shop.world.till()

    def used():
        return shop.ask(till).bundle_version

    shop.publish(1)
    assert used() == 1
    shop.publish(2)
    assert used() == 2
    shop.publish(3)
    whole = shop.archive(3).read_bytes()
    shop.archive(3).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert used() == 2
    with pytest.raises(IntegrityError, match="is not the file"):
        load_published(shop.repository, published_bundles(shop.repository)[0])
    shop.archive(3).write_bytes(whole)
    assert used() == 2
    shop.seconds += RETRY_S
    assert used() == 3
    (shop.repository / "metadata" / "timestamp.json").write_bytes(b"{}")
    assert used() == 3
    fresh = ActiveBundle(shop.repository)
    assert fresh.current() is None


def test_after_a_restart_the_last_good_bundle_stands_in_for_a_damaged_newest(shop):
    shop.publish(1)
    shop.publish(2)
    shop.archive(2).unlink()
    assert ActiveBundle(shop.repository).current().manifest.bundle_version == 1


def test_a_bundle_whose_model_does_not_work_still_says_what_is_popular(shop, write_model_bundle, tmp_path):
    till = shop.world.till()
    fact = till.fact(Purpose.PERSONALIZATION, owner="card:1")
    till.sync(till.event("item-7", owner="card:1", order_id="order-1"), consents=(fact,))
    shop.publish(1, without_model(write_model_bundle, tmp_path / "good"))
    found = shop.ask(till, "card:1", count=2)
    assert (found.items, found.segment) == (("item-50", "item-49"), "late")
    assert (found.fallback, found.bundle_version) == (Fallback.NO_MODEL, 1)
    shop.publish(2)
    assert shop.ask(till, "card:1").source == "model"
    shop.publish(3, without_model(write_model_bundle, tmp_path / "also good"))
    assert shop.ask(till, "card:1").bundle_version == 2


def test_many_may_ask_at_once_while_a_bundle_is_published(shop):
    shop.publish(1)
    till = shop.world.till()
    facts = tuple(till.fact(Purpose.PERSONALIZATION, owner=f"card:n{number}") for number in range(8))
    till.sync(*(till.event(f"item-{number + 1}", owner=f"card:n{number}") for number in range(8)), consents=facts)
    alone = [shop.ask(till, f"card:n{number}") for number in range(8)]
    shop.publish(2)
    shop.recommendations = Recommendations(shop.world.store, shop.bundle)
    answers: list[RecommendationResponse] = []

    def ask(number):
        answers.extend(shop.ask(till, f"card:n{number}") for _ in range(3))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 24
    assert {answer.items for answer in answers} == {answer.items for answer in alone}
    assert shop.ask(till, "card:1").bundle_version == 2


def test_a_revoked_device_is_told_nothing(shop):
    till = shop.world.till()
    with shop.world.store.write() as connection:
        connection.execute(update(tables.devices).values(revoked_at=shop.world.clock.now_ms()))
    shop.publish(1)
    with pytest.raises(PermissionDenied):
        shop.ask(till)


def test_segments_move_with_time(shop):
    """Who ordered often is of another segment, and is again of the first when that is long ago."""
    shop.publish(1)
    till = shop.world.till()
    fact = till.fact(Purpose.PERSONALIZATION, owner="card:1")
    orders = [till.event("item-7", owner="card:1", order_id=f"order-{number}") for number in range(9)]
    till.sync(*orders, consents=(fact,))
    assert shop.ask(till, "card:1").segment == "often"
    shop.world.clock.time_ms += SEGMENTS.window_hours * HOUR_MS
    assert shop.ask(till, "card:1").segment == "late"
