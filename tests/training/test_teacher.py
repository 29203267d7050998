"""The teacher: where it starts, what it may not see, and that it learns."""

import numpy as np
import pytest
import torch

from contracts.errors import ConfigError, RunError
from training.baselines.popularity import purchase_counts
from training.calibration import OFFSETS, best_offset
from training.cases import VALIDATION, next_basket_cases
from training.examples import draw_baskets, examples_of
from training.fit_teacher import TeacherRecipe, cosine, fit_teacher
from training.histories import Histories, histories_of
from training.new_item_labels import NewItemLabeller
from training.segments import fit_segments
from training.soft_labels import label_new_items, load_soft_labels, make_soft_labels, save_soft_labels
from training.teacher import Teacher, TeacherShape, attribute_codes

LENGTH = 8
SHAPE = TeacherShape(width=14, heads=2, recent=4)


@pytest.fixture(scope="module")
def small(logs):
    prepared = logs.prepared(logs.draw(5, people=12, items=30), items=30, phones=(11,))
    segments = fit_segments(prepared, 0)
    examples = examples_of(prepared, draw_baskets(prepared, 0, 60, 0), LENGTH, segments)
    return prepared, examples, label_new_items(NewItemLabeller(prepared), examples)


def new_teacher(prepared, seed=0):
    torch.manual_seed(seed)
    return Teacher(SHAPE, attribute_codes(prepared.items), purchase_counts(prepared))


def test_it_starts_as_the_persons_frequency_above_popularity(small):
    prepared, examples, _ = small
    teacher = new_teacher(prepared)
    scores = teacher.scores(examples.histories)
    popularity = purchase_counts(prepared)
    for row in range(len(examples)):
        history, counts = examples.histories.items[row], examples.histories.counts[row]
        held = history > 0
        assert np.array_equal(np.argsort(-scores[row, history[held]].numpy()), np.argsort(-np.log(counts[held] + 0.02)))
        new = np.setdiff1d(np.arange(1, 31), history)
        assert np.all(np.diff(popularity[new[np.argsort(-scores[row, new].numpy(), kind="stable")]]) <= 0)


def test_what_stands_in_padding_changes_nothing(small):
    prepared, examples, _ = small
    teacher = new_teacher(prepared)
    torch.nn.init.normal_(teacher.query.weight)
    histories = examples.histories
    counts = np.where(histories.items > 0, histories.counts, 7.0).astype(np.float32)
    ages = np.where(histories.items > 0, histories.ages, 99.0).astype(np.float32)
    other = Histories(histories.items, histories.events, counts, ages, histories.context)
    assert torch.allclose(teacher.scores(histories), teacher.scores(other))


def test_an_empty_history_is_ranked_by_finite_scores(small):
    prepared, examples, _ = small
    empty = Histories(*(np.zeros_like(value[:1]) for value in vars(examples.histories).values()))
    assert torch.isfinite(new_teacher(prepared).scores(empty)).all()


def test_training_lowers_both_losses_and_repeats_exactly(small):
    prepared, examples, labels = small
    recipe = TeacherRecipe(SHAPE, steps=60, batch=16)
    found = []
    for _ in range(2):
        teacher = new_teacher(prepared)
        losses = np.array(fit_teacher(teacher, recipe, examples, labels, 1, lambda what, done, total: None).losses)
        found.append(teacher.scores(examples.histories))
    assert (losses[-10:].mean(0) < losses[:10].mean(0)).all()
    assert torch.equal(*found)


def test_labels_are_new_to_the_person_and_shares_sum_to_one(small):
    _prepared, examples, labels = small
    for row, history in enumerate(examples.histories.items):
        counted = labels.share[row] > 0
        assert not set(labels.items[row][counted]) & set(history[history > 0])
    assert labels.share.sum(1) == pytest.approx(np.ones(len(examples)), abs=1e-5)


def test_examples_come_from_central_training_baskets_with_a_past(small):
    prepared, examples, _ = small
    assert not prepared.is_phone[prepared.basket_person[examples.baskets]].any()
    assert (prepared.basket_split[examples.baskets] == 0).all()
    assert (examples.histories.items > 0).any(1).all()


def test_soft_labels_are_the_teachers_answers_and_survive_the_disk(small, tmp_path):
    prepared, examples, labels = small
    teacher = new_teacher(prepared)
    soft = make_soft_labels(teacher, examples, labels)
    save_soft_labels(soft, tmp_path)
    loaded = load_soft_labels(tmp_path)
    for name, value in vars(soft).items():
        assert np.array_equal(getattr(loaded, name), value)
    scores, _items, own = teacher.parts(examples.histories)
    assert np.allclose(soft.history_scores, own.numpy(), atol=1e-5)
    assert np.allclose(soft.query @ soft.vectors.T + soft.popularity, scores.numpy(), atol=1e-4)
    with pytest.raises(RunError, match="holds no soft labels"):
        load_soft_labels(tmp_path / "nowhere")


def test_calibration_finds_the_height_that_ranks_best(small):
    prepared, _, _ = small
    cases = next_basket_cases(prepared, VALIDATION)
    histories = histories_of(prepared, cases.baskets, LENGTH, np.zeros((len(cases), 4), np.int32))
    teacher = new_teacher(prepared)

    def quality(offset: float) -> float:
        from training.evaluation import evaluate

        def score(rows):
            scores, items, own = teacher.parts(histories[rows])
            return scores.scatter(1, items, own + offset)

        return float(np.nanmean(evaluate(score, cases, len(prepared.pseudonym)).ndcg))

    best = best_offset(lambda rows: teacher.parts(histories[rows]), cases, len(prepared.pseudonym))
    assert best in OFFSETS
    assert quality(best) == pytest.approx(max(quality(offset) for offset in OFFSETS))


def test_the_rate_rises_then_falls():
    rates = [cosine(step, 200) for step in range(200)]
    assert rates[0] < rates[29] == max(rates)
    assert rates[-1] < 0.05


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(ConfigError, match=r"take another \[model\] width"):
        TeacherShape(width=63, heads=2)
