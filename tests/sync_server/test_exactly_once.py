"""Any order, chunking and number of resends of the same events gives the same profiles: nothing lost, nothing double.

The oracle knows what was created and when it truly happened, and folds the distinct events with `summarize`. It sees
nothing of the server.
"""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.codec import FORMATS
from contracts.consent import Purpose
from contracts.events import Event, EventType, Money
from contracts.summary import EMPTY, HOUR_MS, Summary, summarize
from contracts.sync import VerdictKind
from sync_server import census
from sync_server.received import payload_hash

LOGINS = ("login:ada", "login:bob")
CARDS = {"login:ada": "card:1", "login:bob": "card:2"}
WRITERS = ("phone-a1", "phone-a2", "phone-b", "till")


@dataclass
class Oracle:
    """A naive list of what was created, and who is one person."""

    created: list[tuple[Event, int]] = field(default_factory=list)  # with the true time, milliseconds since 1970
    people: list[set[str]] = field(default_factory=lambda: [{owner} for owner in (*LOGINS, *CARDS.values())])

    def link(self, one: str, other: str) -> None:
        joined = [person for person in self.people if person & {one, other}]
        self.people = [person for person in self.people if person not in joined] + [set().union(*joined)]

    def profile(self, owner: str) -> Summary:
        person = next(person for person in self.people if owner in person)
        return summarize((event, time_ms // HOUR_MS) for event, time_ms in self.created if event.owner in person)


purchases = st.builds(
    dict,
    type=st.sampled_from([EventType.PURCHASE, EventType.VIEW, EventType.ADD_TO_CART, EventType.REFUND]),
    item=st.sampled_from(["milk", "bread", "eggs"]),
    order_id=st.sampled_from([None, "order-1", "order-2"]),
    quantity=st.integers(1, 3),
    price=st.none() | st.integers(0, 500).map(lambda amount: Money(amount, "EUR")),
)
happenings = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(WRITERS), st.sampled_from(LOGINS), purchases),
    st.tuples(st.just("wait"), st.floats(0.1, 2000)),
    st.tuples(st.just("link"), st.sampled_from(LOGINS)),
    st.tuples(st.just("send"), st.sampled_from(WRITERS), st.randoms(use_true_random=False), st.sampled_from(FORMATS)),
    st.tuples(st.just("look"), st.sampled_from(WRITERS[:3])),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(happenings, max_size=25), st.randoms(use_true_random=False))
def test_replayed_in_any_order_the_profiles_are_what_was_created(new_world, held_profile, story, random):
    with TemporaryDirectory() as folder, new_world(Path(folder)) as world:
        oracle = Oracle()
        phones = {"phone-a1": world.phone(), "phone-a2": world.phone(), "phone-b": world.phone()}
        devices = phones | {"till": world.till()}
        for name, login in (("phone-a1", LOGINS[0]), ("phone-a2", LOGINS[0]), ("phone-b", LOGINS[1])):
            phones[name].log_in(login)
        till = devices["till"]
        till.sync(
            consents=tuple(till.fact(Purpose.PERSONALIZATION, owner=card, fact_id=card) for card in CARDS.values())
        )
        outbox: dict[str, list[Event]] = {name: [] for name in devices}
        held = {name: held_profile() for name in phones}

        def send(name, random, format):
            """Some of what the device ever created, in any order, perhaps again."""
            if not outbox[name]:
                return
            chunk = random.choices(outbox[name], k=random.randint(1, 2 * len(outbox[name])))
            devices[name].sync(*chunk, format=format)

        def look(name):
            phone = phones[name]
            held[name].apply(phone.sync(owner=phone.owner, profile_version=held[name].version).profile)

        for what, *how in story:
            if what == "create":
                name, login, fields = how
                owner = CARDS[login] if name == "till" else devices[name].owner
                event = devices[name].event(owner=owner, **fields)
                outbox[name].append(event)
                oracle.created.append((event, world.clock.now_ms()))
            elif what == "wait":
                world.pass_hours(*how)
            elif what == "link":
                phone = phones["phone-a2" if how[0] == LOGINS[0] else "phone-b"]
                phone.sync(identity_tokens=(world.provider.token(how[0], CARDS[how[0]]),))
                oracle.link(how[0], CARDS[how[0]])
            elif what == "send":
                send(*how)
            else:
                look(*how)
        for name in devices:  # in the end every device gets through, in chunks, and sends some again
            rest = random.sample(outbox[name], k=len(outbox[name]))
            while rest:
                size = random.randint(1, len(rest))
                answer = devices[name].sync(*rest[:size])
                assert {verdict.kind for verdict in answer.verdicts} <= {VerdictKind.ACCEPTED, VerdictKind.DUPLICATE}
                rest = rest[size:]
            send(name, random, FORMATS[1])
            assert devices[name].sync().watermark == len(outbox[name]) - 1

        assert census.accepted_events(world.store) == {event.key: payload_hash(event) for event, _ in oracle.created}
        for owner in (*LOGINS, *CARDS.values()):
            assert census.profile(world.store, owner) == oracle.profile(owner)
        for name, phone in phones.items():
            look(name)
            assert held[name].summary == oracle.profile(phone.owner)
        assert census.count_events(world.store) == len(oracle.created)
        profiled = [person for person in oracle.people if oracle.profile(min(person)) != EMPTY]
        assert census.count_profiles(world.store) == len(profiled)
