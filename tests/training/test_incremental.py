"""Going on from a finished teacher: what is kept, where new items start, what is refused, and that it learns."""

import dataclasses
import shutil
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
import torch

from contracts.errors import CheckFailed, ConfigError, DataError, RunError
from contracts.summary import HOUR_MS
from training.attributes import price_bands
from training.baselines.popularity import purchase_counts
from training.cases import TEST, TRAIN, next_basket_cases
from training.context import context_of
from training.examples import draw_baskets
from training.fit_teacher import TeacherRecipe
from training.histories import histories_of
from training.incremental import continue_training, load_decision, start_teacher
from training.origin import OriginScores, keep_origin, load_origin, origin_fingerprint
from training.people_quality import load_people_quality
from training.prepared import Items, Prepared
from training.segments import fit_segments
from training.soft_labels import load_soft_labels
from training.teacher import Teacher, TeacherShape, attribute_codes
from training.train import TEACHER, TrainSettings, load_teacher, train

LENGTH, ITEMS, DAY_MS = 8, 30, 24 * HOUR_MS
SHAPE = TeacherShape(width=14, heads=2, recent=4)
RECIPE = TeacherRecipe(SHAPE, steps=30, batch=16)
SETTINGS = TrainSettings(history_length=LENGTH, examples=200, recipe=RECIPE)
GROWTH_DAYS = 14


def quiet(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total


def renamed(prepared: Prepared, number: dict[int, str]) -> Prepared:
    """The same log with other item ids and three categories, two departments and one brand."""
    ids = ["", *(number.get(item, f"i{item}") for item in range(1, ITEMS + 1))]
    kinds = [["", *(f"{name}{item % many}" for item in range(1, ITEMS + 1))] for name, many in (("c", 3), ("d", 2))]
    items = Items(
        item_id=ids,
        category=kinds[0],
        department=kinds[1],
        brand=["", *["b"] * ITEMS],
        name=ids,
        price_minor=prepared.items.price_minor,
        people=prepared.items.people,
    )
    return dataclasses.replace(prepared, items=items)


def write_catalogue(prepared: Prepared, folder: Path) -> None:
    """What `prepare` leaves of items and the log's weeks."""
    folder.mkdir(exist_ok=True)
    names = ("item_id", "category", "department", "brand", "price_minor")
    columns = {name: getattr(prepared.items, name)[1:] for name in names}
    pl.DataFrame(columns).write_parquet(folder / "items.parquet")
    (folder / "prepare.json").write_bytes(msgspec.json.encode(prepared.record))


@pytest.fixture(scope="module")
def old(logs):
    """The log as it was: weeks end 14 days earlier."""
    draw = [basket for basket in logs.draw(5, people=40, items=ITEMS, baskets=30) if basket.time_ms < ends(logs, 0)[2]]
    return renamed(logs.prepared(draw, items=ITEMS, phones=(11,), ends_ms=ends(logs, 0)), {})


def ends(logs, grown: int) -> tuple[int, int, int]:
    by = (GROWTH_DAYS - grown) * DAY_MS
    return logs.train_end_ms - by, logs.validation_end_ms - by, logs.end_ms - by


@pytest.fixture(scope="module")
def grown(logs):
    """Two weeks later: items 1 to 3 are gone, three others have come under new ids."""
    draw = logs.draw(5, people=40, items=ITEMS, baskets=30)
    prepared = logs.prepared(draw, items=ITEMS, phones=(11,), ends_ms=ends(logs, GROWTH_DAYS))
    return renamed(prepared, {1: "new1", 2: "new2", 3: "new3"})


@pytest.fixture(scope="module")
def run(old, tmp_path_factory):
    """Folders of the old run's catalogue and teacher."""
    folder = tmp_path_factory.mktemp("old")
    write_catalogue(old, folder / "prepare")
    (folder / "train").mkdir()
    train(old, folder / "train", SETTINGS, 3, quiet)
    return folder / "prepare", folder / "train"


@pytest.fixture(scope="module")
def origin(run):
    return load_origin(*run)


def test_the_origin_is_the_teacher_that_was_trained(run, origin, old, tmp_path):
    histories = histories_of(old, next_basket_cases(old, TEST).baskets, LENGTH, zeros(old))
    expected = load_teacher(run[1], old).scores(histories)
    assert torch.equal(origin.teacher.scores(histories), expected)
    assert torch.equal(OriginScores(origin, old.items.item_id).scores(histories)[:, 1:], expected[:, 1:])
    keep_origin(*run, tmp_path / "kept")
    kept = load_origin(tmp_path / "kept", tmp_path / "kept")
    assert torch.equal(kept.teacher.scores(histories), expected)
    assert origin_fingerprint(*run) == origin_fingerprint(tmp_path / "kept", tmp_path / "kept")


def zeros(prepared: Prepared) -> np.ndarray:
    return np.zeros((len(next_basket_cases(prepared, TEST)), 4), np.int32)


def test_known_items_keep_their_vectors_and_new_ones_start_among_their_kind(origin, grown):
    teacher = start_teacher(origin, grown, SHAPE, 0)
    before, after = origin.teacher.catalogue().detach(), teacher.catalogue().detach()
    assert torch.allclose(before[4:], after[4:], atol=1e-6)
    own = origin.teacher.own.weight.detach()
    for item in (1, 2, 3):
        shares = [[other for other in range(4, ITEMS + 1) if other % many == item % many] for many in (3, 2, 1)]
        expected = torch.stack([own[others].mean(0) for others in shares]).mean(0)
        assert torch.allclose(teacher.own.weight[item], expected, atol=1e-6)
        mean_repeat = torch.stack([origin.teacher.repeat[others].mean() for others in shares]).mean()
        assert teacher.repeat[item].item() == pytest.approx(mean_repeat.item(), abs=1e-6)


def test_nothing_of_removed_items_stays(run, origin, grown, tmp_path):
    keep_origin(*run, tmp_path / "kept")
    saved = torch.load(tmp_path / "kept" / TEACHER, weights_only=True)
    for name in ("own.weight", "repeat", "popularity"):
        saved["weights"][name][1:4] = 1e3  # the items that are gone
    torch.save(saved, tmp_path / "kept" / TEACHER)
    other = start_teacher(load_origin(tmp_path / "kept", tmp_path / "kept"), grown, SHAPE, 0).state_dict()
    for name, value in start_teacher(origin, grown, SHAPE, 0).state_dict().items():
        assert torch.equal(value, other[name]), name


def test_the_order_of_the_catalogue_does_not_matter(origin, grown):
    order = np.concatenate([[0], 1 + np.random.default_rng(0).permutation(ITEMS)])
    lists = {
        name: [getattr(grown.items, name)[item] for item in order]
        for name in ("item_id", "category", "department", "brand", "name")
    }
    shuffled = dataclasses.replace(grown, items=dataclasses.replace(grown.items, **lists))
    one, other = start_teacher(origin, grown, SHAPE, 0), start_teacher(origin, shuffled, SHAPE, 0)
    assert torch.allclose(one.catalogue()[order], other.catalogue(), atol=1e-6)


def test_an_origin_never_answers_with_items_it_does_not_know(origin, grown):
    cases = next_basket_cases(grown, TEST)
    context = context_of(grown, cases.baskets, fit_segments(grown, 3))
    histories = histories_of(grown, cases.baskets, LENGTH, context)
    scores = OriginScores(origin, grown.items.item_id).scores(histories)
    assert torch.isneginf(scores[:, :4]).all()
    assert torch.isfinite(scores[:, 4:]).all()


def test_it_learns_and_leaves_what_training_leaves(origin, grown, tmp_path):
    fast = dataclasses.replace(SETTINGS, recipe=dataclasses.replace(RECIPE, rate=0.1, copy_rate=0.02))
    fit = continue_training(grown, origin, tmp_path, fast, 3, quiet)
    losses = np.array(fit.losses)
    assert losses[-8:].sum(1).mean() < losses[:8].sum(1).mean()
    decision = load_decision(tmp_path)
    assert decision is not None
    assert decision.accepted
    assert "teacher" in load_people_quality(tmp_path)
    soft = load_soft_labels(tmp_path)
    assert soft.vectors.shape == (ITEMS + 1, SHAPE.width)
    every = draw_baskets(grown, TRAIN, len(grown.basket_person), 3)
    newer = grown.basket_time_ms >= origin.record.train_end_ms
    assert 10 < newer[every].sum() <= SETTINGS.examples / 2  # all of them fit,
    assert newer[soft.baskets].sum() == newer[every].sum()
    assert len(soft.baskets) == min(SETTINGS.examples, len(every))  # and older ones fill up
    assert set(soft.baskets) <= set(every)
    again = tmp_path / "again"
    again.mkdir()
    continue_training(grown, origin, again, fast, 3, quiet)
    assert (again / TEACHER).read_bytes() == (tmp_path / TEACHER).read_bytes()


def test_a_worse_one_is_refused_and_leaves_nothing(origin, grown, tmp_path):
    wild = dataclasses.replace(SETTINGS, recipe=dataclasses.replace(RECIPE, rate=100.0, copy_rate=1000.0))
    with pytest.raises(
        CheckFailed, match=r"worse than the one it came from: NDCG@10 on all items -\d+\.\d% \[-"
    ) as error:
        continue_training(grown, origin, tmp_path, wild, 3, quiet)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def refused(error: type[Exception], match: str, prepared, origin, folder: Path, settings=SETTINGS) -> None:
    with pytest.raises(error, match=match) as caught:
        continue_training(prepared, origin, folder, settings, 3, quiet)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []


def test_what_cannot_be_continued_is_refused_in_one_line(logs, origin, old, grown, tmp_path):
    refused(DataError, "holds out no weeks", logs.under("leave_one_out", grown), origin, tmp_path)
    refused(DataError, "holds nothing newer than that of --from", old, origin, tmp_path)
    record = msgspec.structs.replace(grown.record, train_end_ms=old.record.train_end_ms)
    refused(DataError, "shorten validation_weeks", dataclasses.replace(grown, record=record), origin, tmp_path)
    foreign = renamed(grown, {item: f"x{item}" for item in range(1, ITEMS + 1)})
    refused(RunError, "knows none of the 30 items", foreign, origin, tmp_path)
    wider = dataclasses.replace(SETTINGS, recipe=dataclasses.replace(RECIPE, shape=TeacherShape(width=16, recent=4)))
    refused(ConfigError, "ask for width 16, .* has width 14", grown, origin, tmp_path, wider)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / TEACHER).write_bytes(b""),
        lambda folder: (folder / TEACHER).write_bytes(b"PK" + bytes(100)),
        lambda folder: (folder / TEACHER).unlink(),
        lambda folder: (folder / "items.parquet").write_bytes(b"PAR1"),
        lambda folder: (folder / "prepare.json").write_text("{"),
        lambda folder: torch.save({"shape": {"width": 14}, "weights": {}}, folder / TEACHER),
        lambda folder: pl.DataFrame(
            {name: ["a", "b"] for name in ("item_id", "category", "department", "brand")}
        ).write_parquet(folder / "items.parquet"),
    ],
)
def test_a_damaged_origin_is_refused_in_one_line(run, tmp_path, damage):
    keep_origin(*run, tmp_path / "kept")
    damage(tmp_path / "kept")
    with pytest.raises(RunError) as error:
        load_origin(tmp_path / "kept", tmp_path / "kept")
    assert "\n" not in str(error.value)
    shutil.rmtree(tmp_path / "kept")


def test_a_price_band_means_the_same_in_the_next_catalogue(old, grown, tmp_path) -> None:
    shape = dataclasses.replace(SHAPE, price_bands=3)
    torch.manual_seed(1)
    teacher = Teacher(shape, attribute_codes(old.items, 3), purchase_counts(old))
    torch.save({"shape": dataclasses.asdict(shape), "weights": teacher.state_dict()}, tmp_path / TEACHER)
    assert load_teacher(tmp_path, old).shape == shape
    write_catalogue(old, tmp_path)
    origin = load_origin(tmp_path, tmp_path)
    started = start_teacher(origin, grown, shape, 2)
    codes = (attribute_codes(each.items, 3)[3] for each in (old, grown))
    bands = (price_bands(each.items.category, each.items.price_minor, 3) for each in (old, grown))
    known, new = (
        dict(zip(band[1:].tolist(), code[1:].tolist(), strict=True)) for band, code in zip(bands, codes, strict=True)
    )
    assert set(known) == set(new) == {1, 2, 3}
    for band in known:
        assert torch.equal(started.kinds[3].weight[new[band]], teacher.kinds[3].weight[known[band]])
    with pytest.raises(ConfigError, match="recent items, 3 price bands"):
        start_teacher(origin, grown, SHAPE, 2)
