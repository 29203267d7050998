"""Segments speak of central people in the training weeks, most valuable first."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.events import EventType
from training.segments import SEGMENTS, fit_segments, rfm

PEOPLE = 30
PHONES = (1, 4, 9)
SEED = 7
seeds = st.integers(0, 10**6)
few = settings(max_examples=12)


def in_training(logs, baskets):
    return [one for one in baskets if one.time_ms < logs.train_end_ms]


@given(seeds)
def test_recency_frequency_and_value_are_a_plain_reckoning(logs, seed: int) -> None:
    draw = random.Random(seed)
    baskets = logs.draw(seed, baskets=4)
    viewed = [logs.basket(one.person, one.time_ms, [14], EventType.VIEW) for one in baskets if draw.random() < 0.3]
    found = rfm(logs.prepared(baskets + viewed, price=lambda item: 50 * item))
    for person, row in enumerate(found):
        mine = [one for one in in_training(logs, baskets + viewed) if one.person == person]
        if not mine:
            assert np.isnan(row).all()
            continue
        hours = math.floor(max(one.time_ms for one in mine) / 3_600_000)
        paid = sum(50 * item for one in mine for item, kind in one.lines if kind is EventType.PURCHASE)
        days = (logs.train_end_ms / 3_600_000 - hours) / 24
        assert row == pytest.approx([math.log1p(days), math.log1p(len(mine)), math.log1p(paid)])


@few
@given(seeds)
def test_phones_and_later_weeks_have_no_say(logs, seed: int) -> None:
    """Neither moves a centre: every central person keeps their segment."""
    draw = random.Random(seed)
    baskets = logs.draw(seed, people=PEOPLE)
    first = fit_segments(logs.prepared(baskets, phones=PHONES), SEED)
    others = [one for one in baskets if one.person not in PHONES]
    late = [one for one in others if one.time_ms >= logs.train_end_ms]
    early = [one for one in others if one.time_ms < logs.train_end_ms]
    rich = [
        logs.basket(person, draw.randrange(logs.start_ms, logs.end_ms), [14, 13, 12])
        for person in PHONES
        for _ in range(40)
    ]
    last_hour = [logs.basket(PHONES[0], logs.train_end_ms - 1, [1])]
    moved = fit_segments(
        logs.prepared(early + [logs.change(one, draw) for one in late] + rich + last_hour, phones=PHONES), SEED
    )
    central = ~np.isin(np.arange(PEOPLE), PHONES)
    assert first.names == moved.names
    assert (first.person[central] == moved.person[central]).all()


@few
@given(seeds)
def test_a_phone_is_in_the_segment_of_its_like(logs, seed: int) -> None:
    baskets = [one for one in logs.draw(seed, people=PEOPLE) if one.person not in PHONES]
    pairs = dict(zip(PHONES, (0, 2, 3), strict=True))
    likes = [
        logs.Basket(phone, one.time_ms, one.lines)
        for phone, like in pairs.items()
        for one in baskets
        if one.person == like
    ]
    found = fit_segments(logs.prepared(baskets + likes, phones=PHONES), SEED)
    assert [found.person[phone] for phone in pairs] == [found.person[like] for like in pairs.values()]


@few
@given(seeds)
def test_names_are_ordered_by_value(logs, seed: int) -> None:
    prepared = logs.prepared(logs.draw(seed, people=PEOPLE), phones=PHONES)
    found = fit_segments(prepared, SEED)
    assert found.names == tuple(f"value_{number}" for number in range(1, SEGMENTS + 1))
    values = rfm(prepared)[:, 2]
    codes = np.where(prepared.is_phone, 0, found.person)
    means = [values[codes == code].mean() for code in range(1, SEGMENTS + 1)]
    assert means == sorted(means, reverse=True)
    assert ((found.person == 0) == np.isnan(values)).all()


def test_the_same_seed_gives_the_same_segments(logs) -> None:
    prepared = logs.prepared(logs.draw(5, people=PEOPLE))
    assert (fit_segments(prepared, 3).person == fit_segments(prepared, 3).person).all()


def test_fewer_kinds_of_people_than_segments_are_no_more_segments(logs) -> None:
    baskets = [logs.basket(person, logs.start_ms, [1 + person % 2 * 9]) for person in range(8)]
    later = [logs.basket(8, logs.train_end_ms, [1])]
    found = fit_segments(logs.prepared(baskets + later), SEED)
    assert found.names == ("value_1", "value_2")
    assert found.person.tolist() == [2, 1] * 4 + [0]
