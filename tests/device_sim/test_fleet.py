"""A whole fleet against the real server: what was created is held once, and profiles say what was bought."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from contracts import codec
from contracts.errors import DataError, InputError
from contracts.events import Event, EventType
from contracts.summary import OrderLine, Summary
from device_sim.clock import FleetTime
from device_sim.count import Created, count_independently
from device_sim.fleet import run_fleet
from device_sim.members import Fleet, FleetReport
from device_sim.phone import Moment
from device_sim.plan import Basket, FleetPlan, Household, Line, checked
from export.repository import publish, trusted_root

STAFF_TOKEN = "the staff's token of the tests"
DAY_MS = 24 * 3_600_000
START_MS = 1_490_000_000_000 + 7 * DAY_MS  # a week after the server's time begins


def baskets(household: int, generator: random.Random) -> tuple[Basket, ...]:
    """Six baskets at the till before the start, then eight over ten days on all channels."""
    made = []
    for number in range(14):
        day = number - 6 if number < 6 else (number - 6) * 1.2 + 0.3
        channel = "till" if number < 6 else generator.choice(["phone", "phone", "till", "both"])
        items = generator.sample(range(1, 61), generator.randint(1, 6))  # items 51 to 60 are not in the catalogue
        lines = tuple(Line(f"item-{item}", generator.randint(1, 3), generator.randint(50, 900)) for item in items)
        made.append(Basket(f"order-{household}-{number}", START_MS + int(day * DAY_MS), lines, channel))
    return tuple(made)


def plan_of(households: int, **options) -> FleetPlan:
    generator = random.Random(9)
    homes = tuple(
        Household(household_id=f"h{number}", baskets=baskets(number, generator), federated=number % 3 != 0)
        for number in range(households)
    )
    return FleetPlan(households=homes, currency="USD", start_ms=START_MS, seed=17, **options)


def held_events(server) -> list[Event]:
    """What lies in the server's database, read past the server."""
    with sqlite3.connect(server.database) as connection:
        rows = connection.execute("SELECT payload FROM events WHERE verdict = 'accepted'").fetchall()
    return [msgspec.convert(msgspec.json.decode(payload) | {"owner": "login:nobody"}, Event) for (payload,) in rows]


@pytest.fixture
def shop(own_server, write_model_bundle, tmp_path: Path) -> Callable[[int], None]:
    """Publishes a version of the tiny bundle on the server."""

    def publish_version(version: int) -> None:
        publish(write_model_bundle(tmp_path / f"bundle-{version}", version), own_server.repository, tmp_path / "keys")

    publish_version(1)
    return publish_version


def test_a_fleet_loses_nothing_and_counts_nothing_twice(own_server, shop, tmp_path: Path) -> None:
    plan = plan_of(6, lost_answers=0.2)
    steps = []
    report = run_fleet(
        plan,
        own_server.url,
        tmp_path / "fleet",
        trusted_root(own_server.repository),
        STAFF_TOKEN,
        own_server.identity_provider,
        own_server.time,
        lambda done, total: steps.append((done, total)),
    )
    held = held_events(own_server)
    count = count_independently(report.created, held, plan, report.profiles)
    assert (count.lost, count.double_counted) == (0, 0)
    assert count.created == count.held == len(held) > 300
    assert count.order_lines == sum(len(basket.lines) for home in plan.households for basket in home.baskets)
    assert report.lost_answers > 0
    assert report.resent > 0
    assert report.refused == ()
    assert report.dropped == 0
    assert report.recommendations >= report.recommendations_offline > 0
    assert report.owners == {home.login: (home.card, home.login) for home in plan.households}
    assert steps[-1][0] == steps[-1][1] == len(steps)
    kinds = {entry.kind for entry in report.timeline}
    assert kinds >= {Moment.OFFLINE, Moment.ONLINE, Moment.SYNC, Moment.BUNDLE, Moment.RECOMMEND, Moment.BASKET}
    assert [entry.at_ms for entry in report.timeline] == sorted(entry.at_ms for entry in report.timeline)
    assert codec.decode(codec.encode(report), FleetReport) == report


def test_a_fleet_opened_again_moves_to_the_next_bundle_by_patch(own_server, shop, tmp_path: Path) -> None:
    plan = plan_of(2, lost_answers=0.0)
    root = trusted_root(own_server.repository)
    arguments = (plan, own_server.url, tmp_path / "fleet", root, STAFF_TOKEN, own_server.identity_provider)
    fleet = Fleet(*arguments, own_server.time)
    fleet.sync_all()
    fleet.close()
    shop(2)
    fleet = Fleet(*arguments, FleetTime.resume(own_server.directory / "clock"))
    fleet.sync_all()
    assert [phone.device.updater.version for phone in fleet.phones] == [2, 2]
    assert all(
        "by patch" in entry.text
        for phone in fleet.phones
        for entry in phone.device.timeline
        if entry.kind == Moment.BUNDLE
    )
    fleet.close()


def created_of(events: list[Event]) -> list[Created]:
    from device_sim.count import created

    return [created(event) for event in events]


def test_the_count_finds_what_is_lost_changed_or_doubled() -> None:
    def event(seq: int, item: str = "a") -> Event:
        return Event(
            device_id="d", epoch=1, seq=seq, type=EventType.VIEW, owner="login:h", occurred_at=0, boot_id="b",
            uptime_ms=0, item_id=item,
        )  # fmt: skip

    basket = Basket("o", 0, (Line("a", 2, 10), Line("b", 1, 5)), "phone")
    plan = FleetPlan(households=(Household(household_id="h", baskets=(basket,)),), currency="USD", start_ms=0, seed=1)
    good = {"a": OrderLine(0, 2, 20), "b": OrderLine(0, 1, 5)}

    def count(held: list[Event], lines: dict[str, OrderLine]):
        profiles = {plan.households[0].login: Summary(orders={"o": lines})}
        found = count_independently(created_of([event(0), event(1)]), held, plan, profiles)
        return found.lost, found.double_counted

    assert count([event(1), event(0)], good) == (0, 0)
    assert count([event(0)], good) == (1, 0)
    assert count([event(0), event(1), event(1)], good) == (0, 1)
    assert count([event(0), event(1, "changed")], good) == (1, 1)
    assert count([event(0), event(1), event(2)], good) == (0, 1)
    assert count([event(0), event(1)], {"a": good["a"]}) == (1, 0)
    assert count([event(0), event(1)], good | {"a": OrderLine(0, 4, 40)}) == (0, 1)
    assert count([event(0), event(1)], good | {"a": OrderLine(0, 1, 10)}) == (1, 0)
    assert count([event(0), event(1)], good | {"c": OrderLine(0, 1, 1)}) == (0, 1)
    nobody = count_independently(created_of([event(0)]), [event(0)], plan, {})
    assert nobody.lost == 2


def test_plans_that_cannot_be_counted_are_refused() -> None:
    plan = plan_of(1)
    home = plan.households[0]
    twice = msgspec.structs.replace(home.baskets[0], lines=(Line("a", 1, 1), Line("a", 1, 1)))
    early = msgspec.structs.replace(home.baskets[0], channel="phone")
    for broken in (
        (home, home),
        (msgspec.structs.replace(home, baskets=(home.baskets[0], home.baskets[0])),),
        (msgspec.structs.replace(home, baskets=(twice,)),),
        (msgspec.structs.replace(home, baskets=(early,)),),
    ):
        with pytest.raises(DataError):
            checked(msgspec.structs.replace(plan, households=broken))
    assert checked(plan) is plan


def test_time_moves_forward_only_and_is_shared_through_eight_bytes(tmp_path: Path) -> None:
    time = FleetTime(1_000, tmp_path / "clock")
    time.advance_to(2_000)
    assert (tmp_path / "clock").read_bytes() == (2_000).to_bytes(8, "little")
    assert FleetTime.resume(tmp_path / "clock").now_ms() == 2_000
    with pytest.raises(InputError, match="cannot go back"):
        time.advance_to(1_999)
    (tmp_path / "clock").write_bytes(b"short")
    with pytest.raises(InputError, match="no time of a fleet"):
        FleetTime.resume(tmp_path / "clock")
    shutil.rmtree(tmp_path)
