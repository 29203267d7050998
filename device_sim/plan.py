"""What a fleet is to replay: real households' baskets as plain data."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contracts.errors import DataError
from contracts.events import EventType, Money
from contracts.identity import OwnerKind
from device_sim.device import Happening


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One item of a basket."""

    item_id: str
    quantity: int
    price_minor: int  # of one piece, in the currency's minor unit


class Basket(msgspec.Struct, frozen=True):
    """One order; seen by both channels it must count once."""

    order_id: str
    at_ms: int  # milliseconds since 1970
    lines: tuple[Line, ...]
    channel: Literal["phone", "till", "both"]


class Household(msgspec.Struct, frozen=True, kw_only=True):
    """One person to the server: a login on a phone, and a loyalty card at the till."""

    household_id: str
    baskets: tuple[Basket, ...]
    federated: bool = True  # allows federated training
    traits: dict[str, str] = {}  # context values of the model that do not change, such as the segment

    @property
    def login(self) -> str:
        return f"{OwnerKind.LOGIN}:household-{self.household_id}"

    @property
    def card(self) -> str:
        return f"{OwnerKind.CARD}:household-{self.household_id}"


class FleetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Households, and what goes wrong while they live."""

    households: tuple[Household, ...]
    currency: str  # ISO 4217
    start_ms: int  # when the phones are taken into use; earlier baskets come from the till
    seed: int
    lost_answers: Annotated[float, Meta(ge=0, lt=1)] = 0.1  # probability: lost after the server has committed
    offline_share: Annotated[float, Meta(ge=0, lt=1)] = 0.3  # of the time, in stretches of a day on average
    wrong_clocks: float = 0.2  # share of phones whose wall clock is days off

    @property
    def ends_ms(self) -> int:
        """The last moment that is planned."""
        return max([self.start_ms, *(basket.at_ms for home in self.households for basket in home.baskets)])

    @property
    def begins_ms(self) -> int:
        """The earliest moment: where a fleet's time must begin."""
        return min([self.start_ms, *(basket.at_ms for home in self.households for basket in home.baskets)])


def checked(plan: FleetPlan) -> FleetPlan:
    """A plan that can be counted.

    Raises:
        DataError: if a household, or an order within one, comes twice, an order has an item twice or none, or a basket
            before the start is the phone's.
    """
    names = [home.household_id for home in plan.households]
    if len(set(names)) != len(names):
        raise DataError("a household comes twice in the plan: join its baskets")
    for home in plan.households:
        orders = [basket.order_id for basket in home.baskets]
        if len(set(orders)) != len(orders):
            raise DataError(f"an order of household {home.household_id} comes twice: join its lines")
        for basket in home.baskets:
            items = [line.item_id for line in basket.lines]
            if not items or len(set(items)) != len(items):
                raise DataError(f"order {basket.order_id} has no items, or one twice: add up its quantities")
            if basket.at_ms < plan.start_ms and basket.channel != "till":
                raise DataError(f"order {basket.order_id} is before the phones' start: mark it till")
    return plan


def purchases(basket: Basket, currency: str) -> list[Happening]:
    """The purchase events of a basket."""
    return [
        Happening(
            type=EventType.PURCHASE,
            item_id=line.item_id,
            quantity=line.quantity,
            price=Money(line.price_minor, currency),
            order_id=basket.order_id,
        )
        for line in basket.lines
    ]
