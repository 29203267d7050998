"""The event cache alone: numbers without gaps, a bound that holds, and nothing given up in silence."""

import random
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import WireError
from contracts.events import Event, EventKey, EventType
from contracts.sync import SEND_ORDER, SeqRange, SyncRequest, SyncResponse, Verdict, VerdictKind
from device_sim.backoff import Backoff
from device_sim.cache import Batch, EventCache, ranges_of
from device_sim.consents import ConsentQueue
from device_sim.database import Database


def event(kind: EventType = EventType.VIEW, item: str = "a", owner: str = "login:a") -> Event:
    return Event(
        device_id="", epoch=0, seq=0, type=kind, owner=owner, occurred_at=5, boot_id="b", uptime_ms=1, item_id=item,
    )  # fmt: skip


def request_of(cache: EventCache, batch: Batch, generation: str = "g") -> SyncRequest:
    return SyncRequest(
        device_id=cache.device_id, epoch=batch.epoch, generation=generation, sent_at=0, boot_id="b", uptime_ms=0
    )


def answer_of(batch: Batch, kinds: list[VerdictKind], watermark: int = -1, epoch: int | None = None) -> SyncResponse:
    verdicts = tuple(Verdict(position=position, kind=kind) for position, kind in enumerate(kinds))
    return SyncResponse(verdicts=verdicts, epoch=epoch or batch.epoch, generation="g", watermark=watermark)


@pytest.fixture
def cache(tmp_path: Path) -> EventCache:
    opened = EventCache(Database(tmp_path / "device.sqlite"), capacity=100)
    opened.adopt("d", 1, "g")
    return opened


ACTIONS = st.lists(
    st.one_of(
        st.lists(st.sampled_from(list(EventType)), min_size=1, max_size=6),
        st.tuples(st.integers(1, 5), st.lists(st.sampled_from(list(VerdictKind)), min_size=5, max_size=5)),
        st.just("reopen"),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(actions=ACTIONS, capacity=st.integers(1, 12))
def test_every_number_is_held_dropped_or_settled_and_nothing_is_in_two_of_these(actions: list, capacity: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "device.sqlite"
        database = Database(path)
        cache = EventCache(database, capacity)
        cache.adopt("d", 1, "g")
        next_seq: Counter[int] = Counter()
        settled: dict[int, set[int]] = {}
        newest_epoch = 1
        for action in actions:
            if action == "reopen":
                database.close()
                database = Database(path)
                cache = EventCache(database, capacity)
            elif isinstance(action, list):
                recorded = cache.record(event(kind) for kind in action)
                epoch = cache.epoch
                assert [(one.epoch, one.seq) for one in recorded] == [
                    (epoch, next_seq[epoch] + offset) for offset in range(len(action))
                ]
                next_seq[epoch] += len(action)
            else:
                limit, kinds = action
                batch = cache.next_batch(limit)
                check_cover(batch, next_seq[batch.epoch], settled.setdefault(batch.epoch, set()))
                priorities = [SEND_ORDER.index(one.type) for one in batch.events]
                assert priorities == sorted(priorities)
                kinds = kinds[: len(batch.events)]
                newest_epoch += VerdictKind.CONFLICT in kinds
                dropped = {seq for one in batch.dropped for seq in range(one.range.first, one.range.last + 1)}
                done = settled[batch.epoch] | dropped | {one.seq for one in batch.events}
                watermark = next(seq for seq in range(len(done) + 1) if seq not in done) - 1
                epoch = newest_epoch if VerdictKind.CONFLICT in kinds else batch.epoch
                answer = cache.settle(batch, request_of(cache, batch), answer_of(batch, kinds, watermark, epoch))
                settled[batch.epoch] = done
                for _, new in answer.renumbered:
                    assert (new.epoch, new.seq) == (newest_epoch, next_seq[newest_epoch])
                    next_seq[newest_epoch] += 1
            assert len(cache.kept({"login:a"}, settled=True)) <= max(capacity, 1)
        database.close()


def check_cover(batch: Batch, created: int, settled: set[int]) -> None:
    """Sent, held, dropped and settled numbers are all that were created; sent and dropped are in no other set."""
    sent = [one.seq for one in batch.events]
    held = [seq for one in batch.held for seq in range(one.first, one.last + 1)]
    dropped = [seq for one in batch.dropped for seq in range(one.range.first, one.range.last + 1)]
    assert len(sent + held + dropped) == len({*sent, *held, *dropped})
    assert {*sent, *held, *dropped, *settled} == set(range(created))
    assert not settled.intersection(sent)
    for one in batch.dropped:
        assert sum(one.counts.values()) == one.range.last - one.range.first + 1


def test_the_least_important_and_oldest_is_given_up_first(tmp_path: Path) -> None:
    cache = EventCache(Database(tmp_path / "device.sqlite"), capacity=3)
    cache.adopt("d", 1, "g")
    kinds = [EventType.IMPRESSION, EventType.PURCHASE, EventType.VIEW, EventType.IMPRESSION, EventType.REFUND]
    cache.record(event(kind, item=str(number)) for number, kind in enumerate(kinds))
    batch = cache.next_batch()
    assert [one.item_id for one in batch.events] == ["1", "4", "2"]
    assert [one.range for one in batch.dropped] == [SeqRange(0, 0), SeqRange(3, 3)]
    cache.record([event(EventType.SEARCH, item="5")])  # gives up itself
    assert cache.dropped() == {EventType.IMPRESSION: 2, EventType.SEARCH: 1}


@settings(max_examples=60, deadline=None)
@given(kinds=st.lists(st.sampled_from(list(EventType)), min_size=1, max_size=30), capacity=st.integers(1, 10))
def test_events_are_sent_in_the_contract_s_order_and_given_up_in_reverse(kinds: list, capacity: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "device.sqlite")
        cache = EventCache(database, capacity)
        cache.adopt("d", 1, "g")
        left: list[tuple[int, int]] = []  # place in the order, seq
        for seq, kind in enumerate(kinds):
            cache.record([event(kind)])
            left = sorted([*left, (SEND_ORDER.index(kind), seq)])
            if len(left) > capacity:  # of the least important, the oldest
                left.remove(min(one for one in left if one[0] == left[-1][0]))
        assert [(SEND_ORDER.index(one.type), one.seq) for one in cache.next_batch().events] == left
        assert cache.dropped() == Counter(kinds) - Counter(SEND_ORDER[place] for place, _ in left)
        database.close()


def test_a_purchase_of_a_new_epoch_does_not_wait_for_impressions_of_an_old_one(cache: EventCache) -> None:
    cache.record([event(EventType.IMPRESSION, "old"), event(EventType.PURCHASE, "first")])
    cache.adopt("d", 2, "g")
    cache.record([event(EventType.PURCHASE, "second"), event(EventType.IMPRESSION, "new")])
    sent = []
    while cache.unsettled():
        batch = cache.next_batch(limit=1)
        sent += [one.item_id for one in batch.events]
        cache.settle(batch, request_of(cache, batch), answer_of(batch, [VerdictKind.ACCEPTED]))
    assert sent == ["first", "second", "old", "new"]


def test_every_event_type_has_its_place_in_the_order() -> None:
    assert sorted(SEND_ORDER) == sorted(EventType)


def test_what_the_watermark_passes_is_forgotten_only_if_it_is_settled(tmp_path: Path) -> None:
    cache = EventCache(Database(tmp_path / "device.sqlite"), capacity=3)
    cache.adopt("d", 1, "g")
    cache.record(event(item=str(number)) for number in range(4))  # number 0 is given up
    batch = cache.next_batch(limit=2)
    assert [one.item_id for one in batch.events] == ["1", "2"]
    # A clone of this device may have brought the server beyond what this one has sent.
    cache.settle(batch, request_of(cache, batch), answer_of(batch, [VerdictKind.ACCEPTED] * 2, watermark=3))
    assert [one.item_id for one in cache.kept({"login:a"}, settled=True)] == ["3"]
    assert cache.next_batch().dropped == ()


def test_a_full_cache_gives_up_settled_events_first_and_they_are_not_lost(tmp_path: Path) -> None:
    cache = EventCache(Database(tmp_path / "device.sqlite"), capacity=3)
    cache.adopt("d", 1, "g")
    cache.record([event(EventType.IMPRESSION, "1"), event(EventType.PURCHASE, "2")])
    batch = cache.next_batch(limit=1)
    cache.settle(batch, request_of(cache, batch), answer_of(batch, [VerdictKind.ACCEPTED]))
    cache.record([event(EventType.IMPRESSION, "3"), event(EventType.IMPRESSION, "4")])
    assert [one.item_id for one in cache.kept({"login:a"}, settled=True)] == ["1", "3", "4"]
    assert cache.dropped() == {}


def test_neighbouring_dropped_numbers_become_one_range(tmp_path: Path) -> None:
    cache = EventCache(Database(tmp_path / "device.sqlite"), capacity=2)
    cache.adopt("d", 1, "g")
    cache.record(event(EventType.VIEW) for _ in range(50))
    dropped = cache.next_batch().dropped
    assert [(one.range, one.counts) for one in dropped] == [(SeqRange(0, 47), {EventType.VIEW: 48})]


def test_an_answer_that_does_not_fit_changes_nothing(cache: EventCache) -> None:
    cache.record([event(item="1"), event(item="2")])
    batch = cache.next_batch()
    for kinds, epoch in (
        ([VerdictKind.ACCEPTED], 1),
        ([VerdictKind.ACCEPTED] * 3, 1),
        ([VerdictKind.ACCEPTED, VerdictKind.CONFLICT], 1),
    ):
        with pytest.raises(WireError):
            cache.settle(batch, request_of(cache, batch), answer_of(batch, kinds, 1, epoch))
    assert cache.unsettled() == 2
    assert [one.item_id for one in cache.next_batch().events] == ["1", "2"]


def test_a_conflict_is_renumbered_in_the_new_epoch_and_new_events_follow_it(cache: EventCache) -> None:
    cache.record([event(item="1"), event(item="2")])
    batch = cache.next_batch()
    kinds = [VerdictKind.CONFLICT, VerdictKind.ACCEPTED]
    settled = cache.settle(batch, request_of(cache, batch), answer_of(batch, kinds, 1, epoch=4))
    assert settled.renumbered == ((EventKey("d", 1, 0), EventKey("d", 4, 0)),)
    assert cache.record([event(item="3")])[0].key == EventKey("d", 4, 1)
    again = cache.next_batch()
    assert (again.epoch, [one.item_id for one in again.events], again.resent) == (4, ["1", "3"], 1)
    stale = answer_of(again, [VerdictKind.ACCEPTED] * 2, 1, epoch=1)
    cache.settle(again, request_of(cache, again), stale)
    assert cache.epoch == 4  # epochs only grow


def test_a_new_generation_is_sent_what_the_old_one_settled(cache: EventCache) -> None:
    cache.record([event(item="1"), event(item="2")])
    batch = cache.next_batch()
    accepted = [VerdictKind.ACCEPTED] * 2
    cache.settle(batch, request_of(cache, batch), answer_of(batch, accepted))  # the watermark stays behind
    assert cache.unsettled() == 0
    cache.record([event(item="3")])
    batch = cache.next_batch()
    restored = msgspec.structs.replace(answer_of(batch, accepted[:1]), generation="restored")
    cache.settle(batch, request_of(cache, batch), restored)
    assert [one.item_id for one in cache.next_batch().events] == ["1", "2"]


def test_events_from_before_enrolment_get_their_numbers_then(tmp_path: Path) -> None:
    cache = EventCache(Database(tmp_path / "device.sqlite"), capacity=3)
    early = cache.record(event(EventType.VIEW, item=str(number)) for number in range(5))
    moved = cache.adopt("d", 7, "g")
    assert moved == tuple((one.key, EventKey("d", 7, one.seq)) for one in early[2:])
    batch = cache.next_batch()
    assert [one.key for one in batch.events] == [new for _, new in moved]
    assert [one.range for one in batch.dropped] == [SeqRange(0, 1)]
    assert cache.adopt("d", 8, "g") == ()  # enrolled again: what may have been sent keeps its number
    assert cache.record([event(EventType.PURCHASE)])[0].key == EventKey("d", 8, 0)


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "device.sqlite")
    cache = EventCache(database)

    def events():
        yield event()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.record(events())

    def within() -> None:
        with database.transaction():
            cache.record([event()])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        within()
    assert cache.unsettled() == 0
    assert cache.record([event()])[0].seq == 0
    assert ConsentQueue(database).pending() == ()


@given(st.sets(st.integers(0, 40)))
def test_ranges_cover_exactly_the_numbers(numbers: set[int]) -> None:
    ranges = ranges_of(sorted(numbers))
    assert {number for one in ranges for number in range(one.first, one.last + 1)} == numbers
    assert all(left.last + 1 < right.first for left, right in pairwise(ranges))


def test_waits_grow_to_a_cap_and_differ_between_devices() -> None:
    one, other = Backoff(random.Random(1)), Backoff(random.Random(2))
    waits = [one.failed() for _ in range(60)]
    assert max(waits[:3]) <= 16
    assert 60 < max(waits) <= 3600
    assert waits != [other.failed() for _ in range(60)]
    one.succeeded()
    assert one.failed() <= 4
