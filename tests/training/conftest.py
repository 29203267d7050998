"""Small prepared logs, made of people's baskets."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import polars as pl
import pytest

from contracts.events import EVENT_CODES, EventType
from contracts.project import Protocol, Split
from contracts.summary import HOUR_MS
from training.examples import Examples, draw_baskets, examples_of
from training.new_item_labels import NewItemLabeller, NewItemLabels
from training.prepared import Counts, Events, Items, Prepared, PrepareRecord
from training.segments import fit_segments
from training.soft_labels import label_new_items
from training.split import split_lines

START_MS = 1_500_000_000_000 // HOUR_MS * HOUR_MS
DAY_MS = 24 * HOUR_MS
TRAIN_DAYS, LATER_DAYS = 60, 20  # of the logs that `draw` makes; validation and test have the second each
TRAIN_END_MS = START_MS + TRAIN_DAYS * DAY_MS
VALIDATION_END_MS = TRAIN_END_MS + LATER_DAYS * DAY_MS
END_MS = VALIDATION_END_MS + LATER_DAYS * DAY_MS


@dataclass(frozen=True)
class Basket:
    person: int
    time_ms: int
    lines: tuple[tuple[int, EventType], ...]  # item, what was done with it


@dataclass(frozen=True)
class Logs:
    """Makes logs; a fixture, so that every file of tests can ask for it."""

    start_ms: int = START_MS
    train_end_ms: int = TRAIN_END_MS
    validation_end_ms: int = VALIDATION_END_MS
    end_ms: int = END_MS
    Basket = Basket

    @staticmethod
    def basket(person: int, time_ms: int, items: Iterable[int], kind: EventType = EventType.PURCHASE) -> Basket:
        return Basket(person, time_ms, tuple((item, kind) for item in items))

    @staticmethod
    def draw(seed: int, people: int = 9, items: int = 14, baskets: int = 12) -> list[Basket]:
        """Each person's baskets, some at the very moment of another, each person with favourites."""
        draw = random.Random(seed)
        found = []
        for person in range(people):
            favourites = [draw.randint(1, items) for _ in range(4)]
            for _ in range(draw.randint(2, baskets)):
                moment = START_MS + draw.randrange((TRAIN_DAYS + 2 * LATER_DAYS) * 4) * DAY_MS // 4
                chosen = {draw.choice(favourites) if draw.random() < 0.5 else draw.randint(1, items) for _ in range(4)}
                found.append(Logs.basket(person, moment, sorted(chosen)))
            found.append(Logs.basket(person, found[-1].time_ms, [draw.randint(1, items)]))
        for moment in (START_MS, TRAIN_END_MS, VALIDATION_END_MS):  # there is something to predict in every part
            found.append(Logs.basket(0, moment, [draw.randint(1, items)]))
        return found

    @staticmethod
    def change(basket: Basket, draw: random.Random, items: int = 14) -> Basket:
        """The same person at the same moment, taking something else."""
        return Logs.basket(basket.person, basket.time_ms, {draw.randint(1, items) for _ in range(draw.randint(1, 6))})

    @staticmethod
    def ordered(baskets: Iterable[Basket]) -> list[Basket]:
        """In the order in which a prepared log numbers them."""
        return sorted(baskets, key=lambda basket: (basket.person, basket.time_ms))

    @staticmethod
    def prepared(
        baskets: Iterable[Basket],
        items: int = 14,
        phones: Sequence[int] = (),
        ends_ms: tuple[int, int, int] = (TRAIN_END_MS, VALIDATION_END_MS, END_MS),
        price: Callable[[int], int] = lambda item: 100 * item,
    ) -> Prepared:
        """The log as `prepare` would leave it; people are numbered from 0 without a gap."""
        rows = [
            (basket.person, item, basket.time_ms, basket.time_ms // HOUR_MS, number, EVENT_CODES[kind], 1, price(item))
            for number, basket in enumerate(Logs.ordered(baskets))
            for item, kind in sorted(basket.lines)
        ]
        types = (np.int32, np.int32, np.int64, np.int32, np.int32, np.int8, np.int32, np.int64)
        columns = (np.array(column, type) for column, type in zip(zip(*rows, strict=True), types, strict=True))
        people = max(row[0] for row in rows) + 1
        text = ["", *(f"i{item}" for item in range(1, items + 1))]
        counts = dict.fromkeys(Counts.__struct_fields__, 0) | {"dropped": {}}
        return Prepared(
            events=Events(*columns),
            items=Items(
                item_id=text,
                category=text,
                department=text,
                brand=text,
                name=text,
                price_minor=np.array([0, *map(price, range(1, items + 1))], np.int64),
                people=np.ones(items + 1, np.int32),
            ),
            pseudonym=[f"{person:032x}" for person in range(people)],
            is_phone=np.isin(np.arange(people), phones),
            record=PrepareRecord(
                train_end_ms=ends_ms[0],
                validation_end_ms=ends_ms[1],
                end_ms=ends_ms[2],
                currency="EUR",
                data_sha256="0" * 64,
                origin="test",
                counts=Counts(**counts),
            ),
        )

    @staticmethod
    def under(protocol: Protocol, prepared: Prepared) -> Prepared:
        """The same log as `prepare` would leave it for another protocol, had it left nothing out."""
        events, record = prepared.events, prepared.record
        if protocol == "leave_one_out":
            kinds = {code: kind.value for kind, code in EVENT_CODES.items()}
            lines = pl.DataFrame(
                {
                    "person": events.person,
                    "basket_key": events.basket,
                    "time_ms": events.time_ms,
                    "type": [kinds[code] for code in events.event.tolist()],
                    "row": np.arange(len(events.item)),
                }
            )
            split, weeks = split_lines(lines, Split(protocol=protocol), prepared.learning.targets)
            events = replace(events, part=split.sort("row")["part"].to_numpy())
            ends = {name: getattr(weeks, name) for name in ("train_end_ms", "validation_end_ms", "end_ms")}
            record = msgspec.structs.replace(record, **ends)
        return replace(prepared, events=events, record=msgspec.structs.replace(record, protocol=protocol))


@pytest.fixture(scope="session")
def logs() -> Logs:
    return Logs()


@pytest.fixture(scope="module")
def given(logs: Logs) -> tuple[Examples, NewItemLabels]:
    """What a teacher is trained on: examples of a small log, and their labels."""
    prepared = logs.prepared(logs.draw(5, people=40, items=30, baskets=30), items=30, phones=(11,))
    examples = examples_of(prepared, draw_baskets(prepared, 0, 60, 0), 8, fit_segments(prepared, 0))
    return examples, label_new_items(NewItemLabeller(prepared), examples)
