"""Who is one person: whatever order links come in, within limits, never by a placeholder."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.consent import Purpose
from contracts.errors import PermissionDenied, WireError
from contracts.identity import OwnerKind
from contracts.sync import VerdictKind
from sync_server import census
from sync_server.identifier_rules import IdentifierRules
from sync_server.persons import PRIORITY, resolve
from sync_server.tables import links
from tests.sync_server.conftest import local_world

OWNERS = range(8)
KINDS = st.lists(st.sampled_from(OwnerKind), min_size=len(OWNERS), max_size=len(OWNERS))
PAIRS = st.tuples(st.sampled_from(OWNERS), st.sampled_from(OWNERS)).filter(lambda pair: pair[0] < pair[1])
SIDES = st.tuples(st.sets(st.sampled_from(OWNERS), min_size=1), st.sets(st.sampled_from(OWNERS), min_size=1)).filter(
    lambda sides: not sides[0] & sides[1]
)


def partition(persons):
    groups = {}
    for owner, person in persons.items():
        groups.setdefault(person, set()).add(owner)
    return sorted(map(sorted, groups.values()))


def by_hand(kinds, pairs, apart):
    """The rule in plain words: sets joined one link at a time, unless somebody would meet whom they must not."""
    groups = [{owner} for owner in OWNERS]
    for first, second in sorted(set(pairs), key=lambda pair: (sorted(PRIORITY[kinds[one]] for one in pair), pair)):
        joined = next(group for group in groups if first in group) | next(group for group in groups if second in group)
        if not any(joined & one and joined & other for one, other in apart):
            groups = [group for group in groups if not group <= joined] + [joined]
    return sorted(map(sorted, groups))


@given(KINDS, st.lists(PAIRS, max_size=14), st.lists(SIDES, max_size=3), st.randoms(use_true_random=False))
def test_persons_do_not_depend_on_the_order_of_links_and_separations(kinds, pairs, apart, random):
    known = dict(enumerate(kinds))
    expected = by_hand(known, pairs, apart)
    for _ in range(3):
        persons = resolve(known, pairs, apart)
        assert partition(persons) == expected
        assert all(person == min(owner for owner in known if persons[owner] == person) for person in persons.values())
        random.shuffle(pairs)
        random.shuffle(apart)
        pairs = [(second, first) if random.random() < 0.5 else (first, second) for first, second in pairs]
        pairs = [tuple(sorted(pair)) for pair in pairs]


MERGES = st.permutations([("a", "b"), ("b", "c"), ("c", "a"), ("d", "e"), ("e", "card"), ("c", "card")])


@settings(max_examples=12, deadline=None)
@given(MERGES, st.integers(0, 6))
def test_concurrent_merges_in_any_order_give_the_same_persons(tmp_path_factory, merges, shown):
    """Each link is shown by another phone; whom they join is what a walk over the links finds."""
    with local_world(tmp_path_factory.mktemp("world")) as world:
        taken = merges[:shown]
        for one, other in taken:
            phone = world.phone()
            phone.sync(identity_tokens=(world.provider.token(name(one), name(other)),))
        people = census.persons(world.store, [name(one) for one in "abcde"] + ["card:shared"])
        for one in people:
            reached, waiting = {one}, [one]
            while waiting:
                at = waiting.pop()
                near = {name(pair[1 - place]) for pair in taken for place in (0, 1) if name(pair[place]) == at}
                waiting += near - reached
                reached |= near
            assert {other for other in people if people[other] == people[one]} == reached


def name(short):
    return "card:shared" if short == "card" else f"login:{short}"


def reasons(world):
    with world.store.read() as connection:
        return Counter(row.reason for row in connection.execute(links.select()))


class TestLimits:
    @pytest.fixture
    def limited(self, world):
        return type(world)(
            world.store,
            world.clock,
            world.provider,
            type(world.settings)(
                **{field: getattr(world.settings, field) for field in world.settings.__struct_fields__}
                | {"identifier_limits": {OwnerKind.CARD: 2}}
            ),
        )

    def test_a_link_beyond_the_limit_is_kept_with_its_reason_and_joins_nobody(self, limited):
        phone = limited.phone()
        for card in ("card:x1", "card:x2", "card:x3"):
            phone.sync(identity_tokens=(limited.provider.token("login:ada", card),))
        people = census.persons(limited.store, ["login:ada", "card:x1", "card:x2", "card:x3"])
        assert people["login:ada"] == people["card:x1"] == people["card:x2"] != people["card:x3"]
        assert reasons(limited) == {
            "": 2,
            "a person has at most 2 identifiers of kind card, this link would make it 3": 1,
        }
        phone.sync(identity_tokens=(limited.provider.token("login:ada", "card:x3"),))  # shown again, judged once
        assert census.persons(limited.store, people) == people
        phone.sync(identity_tokens=(limited.provider.token("login:ada", "login:eve"),))
        assert census.persons(limited.store, ["login:eve"])["login:eve"] == people["login:ada"]

    def test_two_persons_are_not_joined_beyond_the_limit_of_both_together(self, limited):
        phone = limited.phone()
        phone.sync(identity_tokens=(limited.provider.token("login:ada", "card:x1", "card:x2"),))
        phone.sync(identity_tokens=(limited.provider.token("login:bob", "card:y1"),))
        phone.sync(identity_tokens=(limited.provider.token("login:ada", "login:bob"),))
        people = census.persons(limited.store, ["login:ada", "login:bob"])
        assert people["login:ada"] != people["login:bob"]


PLACEHOLDERS = ["0", "null", "Unknown", " guest ", "NONE", "test", "000", "9999999", "xxxx", "n/a", "   "]


class TestPlaceholders:
    @pytest.mark.parametrize("value", PLACEHOLDERS)
    def test_what_stands_for_nobody_is_refused_on_every_device(self, world, value):
        till, phone = world.till(), world.phone()
        phone.log_in("login:ada")
        answer = till.sync(till.event(owner=f"card:{value}"))
        assert [verdict.kind for verdict in answer.verdicts] == [VerdictKind.REFUSED]
        assert "placeholder" in answer.verdicts[0].reason
        answer = phone.sync(phone.event(owner=f"anonymous:{value}"), phone.event(), owner=f"anonymous:{value}")
        assert [verdict.kind for verdict in answer.verdicts] == [VerdictKind.REFUSED, VerdictKind.ACCEPTED]
        with pytest.raises(PermissionDenied, match="placeholder"):
            till.sync(consents=(till.fact(Purpose.ANALYTICS, owner=f"card:{value}"),))
        assert census.persons(world.store, [f"card:{value}", f"anonymous:{value}"]) == {}

    @given(st.from_regex(r"[1-9][0-9]{7,15}", fullmatch=True).filter(lambda value: len(set(value)) > 1))
    def test_real_card_numbers_pass(self, value):
        assert IdentifierRules().objection(f"card:{value}") == ""

    def test_a_shop_adds_its_own_by_kind(self):
        rules = IdentifierRules(placeholders={OwnerKind.CARD: ["STAFF-Card"]})
        assert rules.objection("card:staff-card ")
        assert not rules.objection("login:staff-card")
        with pytest.raises(WireError, match="kind:value"):
            rules.objection("robot:1")


def test_a_till_joins_nobody(world):
    till = world.till()
    till.sync(*(till.event(owner=f"card:{number}") for number in (7, 8)), till.event(owner="anonymous:basket"))
    assert len(set(census.persons(world.store, ["card:7", "card:8", "anonymous:basket"]).values())) == 3
