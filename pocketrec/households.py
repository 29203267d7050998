"""The households that were left out of everything central, as the lives that simulated phones replay."""

import random
from collections.abc import Mapping
from typing import Literal

from contracts.events import EVENT_CODES, EventType
from device_sim.plan import Basket, FleetPlan, Household, Line
from export.inference.context import SEGMENT
from training.prepared import Prepared
from training.segments import Segments

Channel = Literal["phone", "till", "both"]
CHANNELS: dict[Channel, float] = {  # share of the baskets of the test weeks; what is seen by both must count once
    "phone": 0.5,
    "till": 0.3,
    "both": 0.2,
}
DECLINING = 5  # every fifth household does not allow federated training
PURCHASE = EVENT_CODES[EventType.PURCHASE]


def fleet_plan(prepared: Prepared, seed: int, traits: Mapping[int, dict[str, str]] | None = None) -> FleetPlan:
    """A plan for the phones of a prepared log.

    The phones are taken into use where the test weeks begin. What their households bought before was bought at the
    till, under the loyalty card; from then on a basket is the phone's, the till's, or seen by both.

    Args:
        prepared: whose people with `is_phone` are replayed, under their pseudonyms.
        seed: of the channels, and of the fleet's faults.
        traits: person -> context values of the model that do not change, such as the segment.
    """
    start_ms = prepared.record.validation_end_ms
    draw = random.Random(seed)

    def channel(at_ms: int) -> Channel:
        return "till" if at_ms < start_ms else draw.choices([*CHANNELS], [*CHANNELS.values()])[0]

    return FleetPlan(
        households=tuple(
            Household(
                household_id=prepared.pseudonym[person],
                baskets=tuple(
                    Basket(f"order-{basket}", at_ms, lines, channel(at_ms))
                    for basket, at_ms, lines in _baskets(prepared, person)
                ),
                federated=number % DECLINING != DECLINING - 1,
                traits=(traits or {}).get(person, {}),
            )
            for number, person in enumerate(prepared.is_phone.nonzero()[0].tolist())
        ),
        currency=prepared.record.currency,
        start_ms=start_ms,
        seed=seed,
    )


def _baskets(prepared: Prepared, person: int) -> list[tuple[int, int, tuple[Line, ...]]]:
    """Number, time in milliseconds since 1970 and purchased lines of each basket that has any."""
    events, items = prepared.events, prepared.items
    found = []
    for basket in range(*prepared.person_start[person : person + 2].tolist()):
        start, stop = prepared.basket_start[basket : basket + 2].tolist()
        columns = (events.item, events.quantity, events.amount, events.event)
        rows = zip(*(column[start:stop].tolist() for column in columns), strict=True)
        lines = tuple(
            Line(items.item_id[item], quantity, _price(amount, quantity))
            for item, quantity, amount, event in rows
            if event == PURCHASE
        )
        if lines:
            found.append((basket, int(prepared.basket_time_ms[basket]), lines))
    return found


def _price(amount: int, quantity: int) -> int:
    """Minor units of one piece, rounded half up."""
    return (2 * amount + quantity) // (2 * quantity)


def traits_of(prepared: Prepared, segments: Segments) -> dict[int, dict[str, str]]:
    """What a phone is told of its person once: the segment, by centres that were fitted on central people."""
    return {
        int(person): {SEGMENT: segments.names[segments.person[person] - 1]}
        for person in prepared.is_phone.nonzero()[0]
        if segments.person[person]
    }
