"""An independent count: what was created against what the server holds, and what was bought against what profiles say.

Nothing here uses the summaries' code: orders are counted from the plan alone.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from contracts import codec
from contracts.events import Event, EventKey
from contracts.summary import Summary
from device_sim.plan import FleetPlan


class Created(msgspec.Struct, frozen=True, array_like=True):
    """An event as a device created it."""

    key: EventKey
    sha256: str  # hex, of the event in canonical JSON without its owner, whose name the server does not keep


class IndependentCount(msgspec.Struct, frozen=True, kw_only=True):
    """Lost and double-counted are both 0, or something is wrong."""

    created: int
    held: int
    lost: int  # events created and not held, and order lines bought that no profile shows
    double_counted: int  # events held twice, changed or never created, and order lines with too much
    order_lines: int  # bought


def created(event: Event) -> Created:
    return Created(
        event.key, hashlib.sha256(codec.encode(msgspec.structs.replace(event, owner=msgspec.UNSET))).hexdigest()
    )


def count_independently(
    made: Iterable[Created], held: Iterable[Event], plan: FleetPlan, profiles: Mapping[str, Summary]
) -> IndependentCount:
    """Compare what devices created with what the server holds.

    Args:
        made: every event created, under its last key.
        held: every event that the server holds, in any order, each as often as it is held.
        plan: what the households bought.
        profiles: login -> unified profile of that person.
    """
    expected = Counter(made)
    found = Counter(created(event) for event in held)
    lost, surplus = (expected - found).total(), (found - expected).total()
    lines = 0
    for home in plan.households:
        profile = profiles.get(home.login, Summary())
        bought = {
            (basket.order_id, line.item_id): (line.quantity, line.quantity * line.price_minor)
            for basket in home.baskets
            for line in basket.lines
        }
        shown = {
            (order, item): (line.quantity, line.amount)
            for order, items in profile.orders.items()
            for item, line in items.items()
        }
        lines += len(bought)
        lost += sum(line not in shown or shown[line] < amounts for line, amounts in bought.items())
        surplus += sum(line not in bought or amounts > bought[line] for line, amounts in shown.items())
    return IndependentCount(
        created=expected.total(), held=found.total(), lost=lost, double_counted=surplus, order_lines=lines
    )
