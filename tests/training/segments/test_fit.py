"""Segments speak of central people in the training weeks, most valuable first, by a rule that anybody can apply."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import DataError
from contracts.project import Segmentation
from contracts.segments import FEATURES, METHODS, SegmentDefinition, segment_of
from training.prepared import Prepared, load_segments
from training.segments import apply_definition, fit_definition, fit_segments, save_definition
from training.segments.features import features_of_people

PEOPLE = 240
PHONES = (1, 4, 9)
SEED = 7
KINDS = 3  # of people, by how often they come and how much they take
seeds = st.integers(0, 10**6)
few = settings(max_examples=8, deadline=None)


def kinds(logs, seed: int, people: int = PEOPLE) -> list:
    """People who come daily and take a lot, weekly and less, or came twice long ago."""
    draw = random.Random(seed)
    found = []
    for person in range(people):
        kind = person % KINDS
        for visit in range((30, 8, 2)[kind]):
            day = visit * (2, 7, 3)[kind] + draw.randrange(2)
            items = draw.sample(range(1, 15), (8, 4, 1)[kind] + draw.randrange(2))
            found.append(logs.basket(person, logs.start_ms + day * 24 * 3_600_000, items))
    return found


@few
@given(seeds)
def test_phones_and_later_weeks_have_no_say(logs, seed: int) -> None:
    """Neither moves a centre."""
    draw = random.Random(seed)
    baskets = kinds(logs, seed, 60)
    first = fit_definition(logs.prepared(baskets, phones=PHONES), Segmentation(), SEED)
    rich = [
        logs.basket(person, draw.randrange(logs.start_ms, logs.end_ms), [14, 13, 12])
        for person in PHONES
        for _ in range(40)
    ]
    late = [
        logs.basket(person, draw.randrange(logs.train_end_ms, logs.end_ms), [draw.randint(1, 14)])
        for person in range(60)
    ]
    moved = fit_definition(logs.prepared(baskets + rich + late, phones=PHONES), Segmentation(), SEED)
    assert first == moved


@few
@given(seeds)
def test_a_phone_is_in_the_segment_of_its_like(logs, seed: int) -> None:
    baskets = [one for one in kinds(logs, seed, 60) if one.person not in PHONES]
    pairs = dict(zip(PHONES, (0, 2, 3), strict=True))
    likes = [
        logs.Basket(phone, one.time_ms, one.lines)
        for phone, like in pairs.items()
        for one in baskets
        if one.person == like
    ]
    found = fit_segments(logs.prepared(baskets + likes, phones=PHONES), SEED)
    assert len(found.names) >= KINDS
    assert [found.person[phone] for phone in pairs] == [found.person[like] for like in pairs.values()]


@pytest.fixture(scope="module")
def prepared(logs) -> Prepared:
    return logs.prepared([*kinds(logs, 3), logs.basket(PEOPLE, logs.train_end_ms, [1])], phones=PHONES)


@pytest.fixture(scope="module", params=METHODS)
def definition(request: pytest.FixtureRequest, prepared: Prepared) -> SegmentDefinition:
    return fit_definition(prepared, Segmentation(method=request.param), SEED)


def test_kinds_of_people_that_are_far_apart_are_found_by_every_method(
    definition: SegmentDefinition, prepared: Prepared
) -> None:
    assert len(definition.names) == KINDS
    assert apply_definition(definition, prepared).person.tolist() == [1, 2, 3] * (PEOPLE // KINDS) + [0]
    assert definition.names[0] == "loyal, high value"
    assert definition.people == (PEOPLE // KINDS - 1, PEOPLE // KINDS - 2, PEOPLE // KINDS)  # phones are no evidence
    assert definition.agreement == 1.0
    assert definition.silhouette is not None
    assert definition.silhouette > 0.5
    assert [each.count for each in definition.considered] == list(range(3, 11))


def test_the_most_valuable_segment_comes_first(definition: SegmentDefinition) -> None:
    value = definition.features.index("value")
    worth = [centre[value] for centre in definition.centres]
    assert worth == sorted(worth, reverse=True)


def test_whoever_holds_the_definition_gives_the_same_segments(
    definition: SegmentDefinition, prepared: Prepared
) -> None:
    features = features_of_people(prepared, definition.window_hours)
    found = apply_definition(definition, prepared).person
    for person, row in enumerate(features.values):
        alone = segment_of(definition, dict(zip(FEATURES, row.tolist(), strict=True)))
        assert found[person] == (alone if features.known[person] else 0)


def test_the_same_seed_gives_the_same_definition(definition: SegmentDefinition, prepared: Prepared) -> None:
    assert fit_definition(prepared, Segmentation(method=definition.method), SEED) == definition


def test_later_steps_follow_what_was_saved(prepared: Prepared, tmp_path: Path) -> None:
    saved = fit_definition(prepared, Segmentation(count=5), SEED)
    save_definition(saved, tmp_path)
    loaded = load_segments(tmp_path)
    assert loaded == saved
    found = fit_segments(replace(prepared, segments=loaded), seed=SEED + 1)
    assert found.names == saved.names
    assert len(found.names) == 5
    assert (found.person == apply_definition(saved, prepared).person).all()


@pytest.mark.parametrize("method", METHODS)
def test_too_few_people_for_what_is_asked_are_refused_in_one_line(logs, method: str) -> None:
    small = logs.prepared(kinds(logs, 1, 18))
    with pytest.raises(DataError, match=r"needs \d+ people .* the log has 18: use") as error:
        fit_definition(small, Segmentation(method=method, count=5), SEED)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    if method != "kmeans":
        with pytest.raises(DataError, match=f"method = '{method}' with count = 'auto' needs"):
            fit_definition(small, Segmentation(method=method), SEED)


def test_more_segments_than_kinds_of_people_are_refused(logs) -> None:
    alike = logs.prepared([logs.basket(person, logs.start_ms, [1 + person % 2]) for person in range(60)])
    with pytest.raises(DataError, match="count = 4, but the people of the training weeks are of 2 kinds only"):
        fit_definition(alike, Segmentation(count=4), SEED)


@pytest.mark.parametrize("people", [1, 8, 19])
def test_a_small_log_has_one_segment(logs, people: int) -> None:
    found = fit_segments(logs.prepared([*kinds(logs, 1, people), logs.basket(people, logs.train_end_ms, [1])]), SEED)
    assert found.names == ("everyone",)
    assert found.person.tolist() == [1] * people + [0]


def test_a_log_whose_central_people_begin_after_the_training_weeks_has_none(logs) -> None:
    baskets = [logs.basket(0, logs.train_end_ms, [1]), logs.basket(1, logs.start_ms, [1])]
    found = fit_segments(logs.prepared(baskets, phones=[1]), SEED)
    assert found.names == ()
    assert found.person.tolist() == [0, 0]


def test_people_who_do_not_differ_are_everyone(logs) -> None:
    found = fit_segments(logs.prepared([logs.basket(person, logs.start_ms, [1]) for person in range(40)]), SEED)
    assert found.names == ("everyone",)
    assert (found.person == 1).all()
