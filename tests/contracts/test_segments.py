"""A person's segment follows from their summary and the definition alone."""

import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from contracts.codec import decode, encode
from contracts.events import EVENT_CODES, EventType
from contracts.segments import (
    FEATURES,
    NEUTRAL_IRREGULARITY,
    Purchases,
    SegmentDefinition,
    features_of,
    irregularity,
    purchases_of,
    segment_of,
    segment_of_summary,
)
from contracts.summary import EMPTY, Activity, OrderLine, Summary, weights_at

NOW, WINDOW = 400_000, 30 * 24
finite = st.floats(-5, 5)


@st.composite
def definitions(draw: st.DrawFn) -> SegmentDefinition:
    features = tuple(draw(st.lists(st.sampled_from(FEATURES), unique=True)))
    rows = st.lists(finite, min_size=len(features), max_size=len(features)).map(tuple)
    centres = tuple(draw(st.lists(rows, max_size=6)))
    return SegmentDefinition(
        method="kmeans",
        window_hours=WINDOW,
        features=features,
        mean=draw(rows),
        deviation=tuple(0.1 + abs(each) for each in draw(rows)),
        centres=centres,
        names=tuple(f"segment {number}" for number in range(len(centres))),
    )


@given(definitions(), st.fixed_dictionaries(dict.fromkeys(FEATURES, finite)))
def test_the_nearest_centre_is_taken(definition: SegmentDefinition, features: dict[str, float]) -> None:
    code = segment_of(definition, features)
    if not definition.centres:
        assert code == 0
        return
    scaled = [
        (features[name] - mean) / deviation
        for name, mean, deviation in zip(definition.features, definition.mean, definition.deviation, strict=True)
    ]
    distances = [math.dist(scaled, centre) for centre in definition.centres]
    assert distances[code - 1] <= min(distances) * (1 + 1e-9) + 1e-12


@given(definitions())
def test_it_is_plain_json(definition: SegmentDefinition) -> None:
    assert decode(encode(definition), SegmentDefinition) == definition
    keys = msgspec.json.decode(encode(definition)).keys()
    assert keys >= {"features", "mean", "deviation", "centres", "names"}


def line(hour: int, quantity: int = 1, amount: int = 100, refunded: bool = False) -> OrderLine:
    return OrderLine(hour, quantity, amount, refunded)


def activity(hour: int, kind: EventType) -> Activity:
    return Activity(weights_at(hour), hour, EVENT_CODES[kind])


def test_what_a_summary_holds_of_the_window() -> None:
    summary = Summary(
        items={
            "tea": activity(NOW - 3, EventType.VIEW),
            "mug": activity(NOW - 9, EventType.ADD_TO_CART),
            "cup": activity(NOW - 50, EventType.PURCHASE),  # bought without an order number
            "pot": activity(NOW - 50, EventType.PURCHASE),
            "hat": activity(NOW - WINDOW, EventType.PURCHASE),  # just too old
        },
        orders={
            "a": {"tea": line(NOW - 48), "jam": line(NOW - 48, amount=250)},
            "b": {"jam": line(NOW - 5), "ham": line(NOW - 5, refunded=True)},
            "c": {"egg": line(NOW - 7, refunded=True)},
            "d": {"egg": line(NOW - WINDOW)},  # just too old
            "e": {"oil": line(NOW - 4, quantity=0, refunded=True)},  # a refund whose purchase was not seen
        },
    )
    found = purchases_of(summary, NOW, WINDOW)
    assert found == Purchases((NOW - 50, NOW - 48, NOW - 5), 450, 5, frozenset({"cup", "pot", "tea", "jam"}), NOW - 3)
    features = features_of(found, NOW, WINDOW, category=lambda item: item[0] if item != "tea" else "c")
    days = len({(NOW - 50) // 24, (NOW - 48) // 24, (NOW - 5) // 24})
    expected = {
        "recency": math.log1p(5 / 24),
        "frequency": math.log1p(3),
        "value": math.log1p(450),
        "active_days": math.log1p(days),
        "items": math.log1p(4),
        "categories": math.log1p(3),
        "basket_size": math.log1p(5 / 3),
        "browsing_recency": math.log1p(3 / 24),
    }
    assert expected.items() <= features.items()


def test_regular_people_have_equal_gaps() -> None:
    assert irregularity([1, 8, 15, 22]) == 0.0
    assert irregularity([3]) == irregularity([3, 9]) == NEUTRAL_IRREGULARITY
    assert irregularity([0, 1, 10]) == 0.8  # gaps 1 and 9: mean 5, deviation 4


@given(definitions())
def test_who_neither_bought_nor_browsed_is_unknown(definition: SegmentDefinition) -> None:
    assert segment_of_summary(definition, EMPTY, NOW, str) == 0
    gave_back = Summary(orders={"a": {"tea": line(NOW - 4, refunded=True)}})
    assert segment_of_summary(definition, gave_back, NOW, str) == 0
    known = segment_of_summary(definition, Summary(orders={"a": {"tea": line(1)}}), NOW, str)
    assert (known > 0) == bool(definition.centres)
