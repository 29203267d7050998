"""What `prepare` leaves behind, as arrays."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.errors import RunError
from contracts.events import EVENT_CODES
from contracts.project import Learning, Protocol
from contracts.segments import SegmentDefinition
from training.split import Boundaries

EVENTS, ITEMS, PEOPLE, RECORD = "events.parquet", "items.parquet", "people.parquet", "prepare.json"
SEGMENTS = "segments.json"
CENTRAL, PHONE = "central", "phone"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What was read, and where every row of it went: rows = events + dropped + joined_lines."""

    rows: int  # of the log
    events: int
    users: int
    phones: int  # of these users
    items: int
    baskets: int
    dropped: dict[str, int]  # reason -> rows
    joined_lines: int  # further lines of the same item and event type in one basket
    measured_lines: int  # whose quantity was a measure (fuel) and became one piece
    rare_items: int  # items that too few people bought
    test_lines_outside_catalogue: int  # of people who are not phones
    test_baskets_outside_catalogue: int  # of people who are not phones, baskets with no other line


class PrepareRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    train_end_ms: int  # the log's end, as are all, where people's last baskets are held out and no weeks
    validation_end_ms: int  # where the test weeks begin
    end_ms: int
    currency: str
    data_sha256: str
    origin: str  # what is known of where the data come from
    counts: Counts
    learning: Learning | None = None  # None is the default's
    protocol: Protocol = "next_basket"

    @property
    def boundaries(self) -> Boundaries:
        return Boundaries(self.train_end_ms, self.validation_end_ms, self.end_ms)


@dataclass(frozen=True)
class Events:
    """Columns of the events, all of length n, sorted by person, time_ms, basket and item."""

    person: NDArray[np.int32]  # from 0
    item: NDArray[np.int32]  # dense catalogue index, from 1
    time_ms: NDArray[np.int64]  # milliseconds since 1970, one for a whole basket
    hour: NDArray[np.int32]  # hours since 1970
    basket: NDArray[np.int32]  # from 0, numbered by person, then time
    event: NDArray[np.int8]  # contracts.events.EVENT_CODES
    quantity: NDArray[np.int32]  # pieces of the line
    amount: NDArray[np.int64]  # minor units of the line; 0 where the price is unknown
    device: NDArray[np.int8] | None = None  # code of the basket's device class, 0 where unknown; None: it always is
    part: NDArray[np.int8] | None = None  # `Prepared.basket_split` of the basket; None: its time tells


@dataclass(frozen=True)
class Items:
    """The catalogue, most popular item first; row 0 is padding, so that a dense index finds its row."""

    item_id: list[str]
    category: list[str]
    department: list[str]
    brand: list[str]
    name: list[str]
    price_minor: NDArray[np.int64]  # median of one piece outside the test part; 0 where unknown
    people: NDArray[np.int32]  # central people who bought it outside the test part


@dataclass(frozen=True)
class Prepared:
    """A prepared log; only people whose `is_phone` is false may be used centrally."""

    events: Events
    items: Items
    pseudonym: list[str]  # of each person
    is_phone: NDArray[np.bool_]  # [people]
    record: PrepareRecord
    segments: SegmentDefinition | None = None  # as fitted on the log and saved beside it

    @cached_property
    def basket_start(self) -> NDArray[np.int64]:
        """int64 [baskets + 1]: basket b is the events from basket_start[b] up to basket_start[b + 1]."""
        baskets = int(self.events.basket[-1]) + 1
        return np.searchsorted(self.events.basket, np.arange(baskets + 1)).astype(np.int64)

    @cached_property
    def basket_person(self) -> NDArray[np.int32]:
        """int32 [baskets]."""
        return self.events.person[self.basket_start[:-1]]

    @cached_property
    def basket_time_ms(self) -> NDArray[np.int64]:
        """int64 [baskets]: milliseconds since 1970."""
        return self.events.time_ms[self.basket_start[:-1]]

    @cached_property
    def basket_hour(self) -> NDArray[np.int32]:
        """int32 [baskets]: hours since 1970."""
        return self.events.hour[self.basket_start[:-1]]

    @cached_property
    def basket_split(self) -> NDArray[np.int8]:
        """int8 [baskets]: 0 training, 1 validation, 2 test."""
        if self.events.part is not None:
            return self.events.part[self.basket_start[:-1]]
        return self.record.boundaries.parts(self.basket_time_ms)

    @cached_property
    def basket_device(self) -> NDArray[np.int8]:
        """int8 [baskets]: code of the device class, 0 where the log does not say."""
        if self.events.device is None:
            return np.zeros(len(self.basket_start) - 1, np.int8)
        return self.events.device[self.basket_start[:-1]]

    @property
    def learning(self) -> Learning:
        return self.record.learning or Learning()

    @cached_property
    def event_weight(self) -> NDArray[np.float64]:
        """float64 [EVENT_CODES + 1]: what an event of each type weighs in what is learned, in purchases."""
        return np.array([0.0, *(self.learning.weight(kind) for kind in EVENT_CODES)])

    @cached_property
    def is_target(self) -> NDArray[np.bool_]:
        """bool [events]: what is to be foreseen."""
        wanted = np.array([False, *(kind in self.learning.targets for kind in EVENT_CODES)])
        return wanted[self.events.event]

    @cached_property
    def has_target(self) -> NDArray[np.bool_]:
        """bool [baskets]: baskets that hold something to be foreseen; the others are history only."""
        return np.logical_or.reduceat(self.is_target, self.basket_start[:-1])

    @cached_property
    def person_start(self) -> NDArray[np.int64]:
        """int64 [people + 1]: person p has the baskets from person_start[p] up to person_start[p + 1]."""
        return np.searchsorted(self.basket_person, np.arange(len(self.pseudonym) + 1)).astype(np.int64)


def load_record(folder: Path) -> PrepareRecord:
    """Read the record of a preparation.

    Raises:
        RunError: if the folder holds none.
    """
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=PrepareRecord)
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{folder} holds no prepared log ({error}): run pocketrec prepare") from None


def load_prepared(folder: Path) -> Prepared:
    """Read what `training.prepare.prepare` wrote.

    Raises:
        RunError: if the folder holds no complete preparation, or segments that cannot be read.
    """
    record = load_record(folder)
    try:
        events, items, people = (pl.read_parquet(folder / name) for name in (EVENTS, ITEMS, PEOPLE))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(f"{folder} holds no prepared log ({error}): run pocketrec prepare") from None
    text = {name: ["", *items[name].to_list()] for name in ("item_id", "category", "department", "brand", "name")}
    numbers = {name: np.concatenate([[0], items[name].to_numpy()]) for name in ("price_minor", "people")}
    return Prepared(
        events=Events(
            **{name: events[name].to_numpy() for name in Events.__dataclass_fields__ if name in events.columns}
        ),
        items=Items(
            **text, price_minor=numbers["price_minor"].astype(np.int64), people=numbers["people"].astype(np.int32)
        ),
        pseudonym=people["pseudonym"].to_list(),
        is_phone=(people["role"] == PHONE).to_numpy(),
        record=record,
        segments=load_segments(folder),
    )


def load_segments(folder: Path) -> SegmentDefinition | None:
    """Read the definition of the segments; None where there is none.

    Raises:
        RunError: if the file cannot be read.
    """
    try:
        return msgspec.json.decode((folder / SEGMENTS).read_bytes(), type=SegmentDefinition)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise RunError(f"{folder / SEGMENTS} cannot be read ({error}): run pocketrec prepare") from None
