"""What the store must hold in the end, reckoned from what was created, and compared row by row.

The sums of a profile are added up here once more, plainly, from the events themselves: see `contracts.summary` for what
they mean.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from contracts.consent import Purpose
from contracts.events import EventType
from contracts.sync import VerdictKind
from sync_server import people, tables
from sync_server.identifiers import IdentifierKeys
from tests.simulation.devices import Device, Key, Made, ranges
from tests.simulation.oracle import Oracle

HOUR_MS = 3_600_000
ERA_HOURS, HALF_LIFE_HOURS, UNIT = 8 * 2880, 2880, 2**20
SHARES = {  # of a purchase, in 1/64
    EventType.SEARCH: 1,
    EventType.VIEW: 2,
    EventType.RECOMMENDATION_TAPPED: 4,
    EventType.ADD_TO_CART: 16,
    EventType.PURCHASE: 64,
}
CODES = {kind: code for code, kind in enumerate(EventType, start=1)}
Counted = tuple[Made, int]
"""What happened, and in which hour since 1970."""

Sums = tuple[dict[str, Any], dict[tuple[str, str], Any]]
"""Of items: weights by era, last hour and strongest event; of order lines: hour, quantity, amount and refunded."""


def check(
    connection: Connection, keys: IdentifierKeys, oracle: Oracle, devices: Iterable[Device], alive: Collection[int]
) -> None:
    """Compare a store with what it must hold.

    Args:
        connection: to the store.
        keys: of identifiers.
        oracle: of the run.
        devices: phones and tills, after each has synced with nothing left to tell.
        alive: uids of what was created, and neither given up by a full cache nor lost with a device.

    Raises:
        AssertionError: where they differ.
    """
    known = people.find(connection, keys, oracle.persons.of.keys())
    assert known.keys() == oracle.persons.of.keys(), "owners"
    assert connection.execute(select(func.count()).select_from(tables.owners)).scalar() == len(known), "erased owners"
    _check_people(oracle, {name: owner.person_id for name, owner in known.items()})
    names = {owner.id: name for name, owner in known.items()}
    hours = _check_events(connection, oracle, names)
    _check_each_once(oracle, alive)
    _check_progress(connection, oracle)
    assert _rows_of_consent(connection, names) == {
        (owner, purpose): decided
        for owner in oracle.persons.of
        for purpose, decided in oracle.decisions.standing(owner).items()
    }, "consents"
    taken: dict[str, list[Counted]] = defaultdict(list)
    for key, hour in hours.items():
        taken[oracle.judged[key].made.owner].append((oracle.judged[key].made, hour))
    sums = {owner: add_up(some) for owner, some in taken.items()}
    assert _stored_sums(connection, names) == {owner: one for owner, one in sums.items() if any(one)}, "profiles"
    for device in devices:
        if device.profile.owner:
            assert device.profile.owner in known, f"device {device.number} holds the profile of one who was erased"
            _check_held(device, oracle, taken)


def check_outbox(connection: Connection, heard: Sequence[int]) -> None:
    """Every message that was committed has gone outward, those of a person in their order the first time that they did.

    Raises:
        AssertionError: where one has not.
    """
    handles = {row.id: row.handle for row in connection.execute(select(tables.outbox))}
    assert set(heard) == handles.keys(), f"messages {handles.keys() ^ set(heard)} were never told, or never happened"
    by_handle: dict[str, list[int]] = defaultdict(list)
    for number in dict.fromkeys(heard):
        by_handle[handles[number]].append(number)
    assert all(numbers == sorted(numbers) for numbers in by_handle.values()), "messages out of order"


def add_up(events: Iterable[Counted]) -> Sums:
    """The sums of distinct events."""
    items: dict[str, Any] = {}
    lines: dict[tuple[str, str], Any] = {}
    for made, hour in events:
        if made.order is not None and made.type in (EventType.PURCHASE, EventType.REFUND):
            bought = made.type is EventType.PURCHASE
            line = (hour, made.quantity, made.quantity * made.amount, False) if bought else (hour, 0, 0, True)
            before = lines.get((made.order, made.item), line)
            lines[made.order, made.item] = tuple(map(max, before, line))
        elif made.type in SHARES:
            weights, last, strongest = items.get(made.item, (Counter(), hour, 0))
            octaves, rest = divmod(hour % ERA_HOURS, HALF_LIFE_HOURS)
            unit = round(UNIT * 2 ** (rest / HALF_LIFE_HOURS)) * 2**octaves
            weights[hour // ERA_HOURS] += unit * SHARES[made.type] // 64
            items[made.item] = (weights, max(last, hour), max(strongest, CODES[made.type]))
    return items, lines


def _check_people(oracle: Oracle, stored: Mapping[str, int]) -> None:
    groups: dict[int, set[str]] = defaultdict(set)
    for owner, person in stored.items():
        groups[person].add(owner)
    for owner, person in stored.items():
        assert groups[person] == oracle.persons.of[owner], f"who is one person with {owner}"


def _check_events(connection: Connection, oracle: Oracle, names: Mapping[int, str]) -> dict[Key, int]:
    """Compare the rows of events, and return the hour of each that entered a profile."""
    rows = {(row.device_id, row.epoch, row.seq): row for row in connection.execute(select(tables.events))}
    assert rows.keys() == oracle.judged.keys(), "keys"
    hours = {}
    for key, row in rows.items():
        one = oracle.judged[key]
        assert row.verdict in one.could, f"verdict on {key}"
        assert one.raw or (row.payload, row.payload_hash, row.owner_id) == (None, b"", None), f"what is left of {key}"
        if row.verdict != VerdictKind.ACCEPTED:
            continue
        assert names[row.owner_id] == one.made.owner, f"owner of {key}"
        assert row.profiled in one.profiled, f"whether {one.made} entered the profile: {one.profiled}"
        assert row.uncertain is (one.error_ms is None), f"certainty of {key}"
        if one.error_ms is not None:
            assert abs(row.occurred_ms - one.made.true_ms) <= one.error_ms, f"time of {key}"
        assert 0 <= row.occurred_ms <= row.received_at, f"time of {key}"
        if row.profiled:
            hours[key] = row.occurred_ms // HOUR_MS
    return hours


def _check_each_once(oracle: Oracle, alive: Collection[int]) -> None:
    # A key whose event was erased is in conflict with every copy of it: each comes again, under a key of its own.
    judged = Counter(one.made.uid for one in oracle.judged.values() if one.raw and VerdictKind.ACCEPTED in one.could)
    twice = {uid for uid, times in judged.items() if times > 1}
    assert not twice, f"{twice} were taken under two keys"
    never = set(alive) - {one.made.uid for one in oracle.judged.values()}
    assert not never, f"{never} were never judged"


def _check_progress(connection: Connection, oracle: Oracle) -> None:
    settled, dropped = defaultdict(list), defaultdict(set)
    for row in connection.execute(select(tables.settled_ranges)):
        settled[row.device_id, row.epoch].append((row.first, row.last))
    for row in connection.execute(select(tables.dropped_ranges)):
        dropped[row.device_id, row.epoch].update(range(row.first, row.last + 1))
    expected = {life: [(one.first, one.last) for one in ranges(seqs)] for life, seqs in oracle.settled.items() if seqs}
    assert {life: sorted(some) for life, some in settled.items()} == expected, "settled ranges"
    assert dropped == {life: seqs for life, seqs in oracle.dropped.items() if seqs}, "dropped ranges"


def _rows_of_consent(connection: Connection, names: Mapping[int, str]) -> dict[tuple[str, Purpose], tuple[int, bool]]:
    rows = connection.execute(select(tables.consents))
    return {(names[row.owner_id], Purpose(row.purpose)): (row.version, row.granted) for row in rows}


def _stored_sums(connection: Connection, names: Mapping[int, str]) -> dict[str, Sums]:
    found: dict[str, Sums] = defaultdict(lambda: ({}, {}))
    for row in connection.execute(select(tables.item_activities)):
        weights = _weights(row.weights)
        found[names[row.owner_id]][0][row.item_id] = (weights, row.last_hour, row.event)
    for row in connection.execute(select(tables.order_lines)):
        line = (row.hour, row.quantity, row.amount, row.refunded)
        found[names[row.owner_id]][1][row.order_id, row.item_id] = line
    return found


def _check_held(device: Device, oracle: Oracle, taken: Mapping[str, list[Counted]]) -> None:
    """Compare a phone's copy with the sum over its owner's person."""
    owner, profile = device.owner, device.profile
    shown = Purpose.PERSONALIZATION in oracle.allowed(owner)
    person = oracle.persons.of[owner] if shown else {owner}
    assert {owner} <= set(profile.owners) <= person, f"owners that device {device.number} knows of"
    granted = {purpose for purpose, consent in profile.consents.items() if consent.granted}
    assert granted == oracle.allowed(owner), f"consents that device {device.number} knows of"
    items, lines = add_up(one for each in person for one in taken.get(each, ()) if shown)
    held_items = {item: (Counter(dict(one.weights)), one.last_hour, one.event) for item, one in profile.items.items()}
    held_lines = {
        (order, item): (line.hour, line.quantity, line.amount, line.refunded)
        for order, bought in profile.orders.items()
        for item, line in bought.items()
    }
    assert (held_items, held_lines) == (items, lines), f"the profile that device {device.number} holds"


def _weights(text: str) -> Counter[int]:
    return Counter(dict(json.loads(text)))
