"""The number of segments: scores against their definitions, and how they are weighed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.segments import Considered
from training.segments.kmeans import kmeans_labels
from training.segments.selection import LEAST_PEOPLE, choose, consider, counts_to_try, scores


def naive(points: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Rousseeuw 1987; Davies and Bouldin 1979."""
    distance = np.sqrt(((points[:, None] - points) ** 2).sum(2))
    clusters = sorted(set(labels.tolist()))
    widths = []
    for at, own in enumerate(labels):
        mean = {c: np.mean([distance[at, j] for j in np.flatnonzero(labels == c) if j != at] or [0]) for c in clusters}
        inside, outside = mean[own], min(mean[c] for c in clusters if c != own)
        widths.append((outside - inside) / max(inside, outside) if (labels == own).sum() > 1 else 0.0)
    centre = {c: points[labels == c].mean(0) for c in clusters}
    scatter = {c: np.linalg.norm(points[labels == c] - centre[c], axis=1).mean() for c in clusters}
    worst = [
        max((scatter[a] + scatter[b]) / np.linalg.norm(centre[a] - centre[b]) for b in clusters if b != a)
        for a in clusters
    ]
    return float(np.mean(widths)), float(np.mean(worst))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4))
def test_scores_are_their_definitions(seed: int, count: int) -> None:
    draw = np.random.default_rng(seed)
    points, labels = draw.standard_normal((15, 2)), draw.permutation(np.arange(15) % count)
    assert scores(points, labels) == pytest.approx(naive(points, labels))


def candidate(count: int, silhouette: float, davies_bouldin: float, smallest: int = LEAST_PEOPLE) -> Considered:
    return Considered(count=count, silhouette=silhouette, davies_bouldin=davies_bouldin, smallest=smallest)


def test_both_scores_have_the_same_say_and_ties_go_to_fewer_segments() -> None:
    assert choose([candidate(3, 0.3, 1.0), candidate(4, 0.4, 0.9), candidate(5, 0.2, 1.2)]) == 4
    assert choose([candidate(3, 0.4, 1.0), candidate(4, 0.3, 0.9)]) == 3
    assert choose([candidate(3, 0.30, 1.2), candidate(4, 0.29, 1.0), candidate(5, 0.28, 1.1)]) == 4
    assert choose([candidate(5, 0.3, 1.0), candidate(4, 0.3, 1.0)]) == 4


def test_a_number_that_leaves_a_segment_of_a_few_people_is_passed_over() -> None:
    assert choose([candidate(3, 0.9, 0.1, LEAST_PEOPLE - 1), candidate(4, 0.2, 1.5)]) == 4
    assert choose([candidate(3, 0.9, 0.1, 1)]) == choose([]) == 1


@given(st.integers(0, 300), st.integers(0, 300))
def test_no_number_is_tried_that_the_people_do_not_allow(people: int, distinct: int) -> None:
    counts = counts_to_try(people, min(people, distinct))
    assert all(count >= 2 and count * LEAST_PEOPLE <= people and count < distinct for count in counts)
    assert bool(counts) == (people >= 2 * LEAST_PEOPLE and min(people, distinct) > 2)


def test_the_number_of_real_groups_wins_and_an_outlier_does_not() -> None:
    draw = np.random.default_rng(0)
    kind = np.arange(80) % 4
    points = 8 * np.eye(4)[kind] + 0.3 * draw.standard_normal((80, 4))
    points[0] = 500.0
    considered = consider(points, lambda count: kmeans_labels(points, 0, count), range(2, 8))
    assert min(considered, key=lambda each: each.smallest).smallest == 1
    assert choose(considered) == 1  # every clustering gives the stranger a segment alone
    assert choose(consider(points[1:], lambda count: kmeans_labels(points[1:], 0, count), range(2, 8))) == 4
