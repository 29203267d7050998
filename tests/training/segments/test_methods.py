"""Each way to cluster against an independent implementation or the paper's formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import adjusted_rand_score

from training.segments.deep_embedded import deep_embedded, soft_assignment, target_distribution
from training.segments.hierarchical import hierarchical
from training.segments.kmeans import kmeans_labels

seeds = st.integers(0, 10**6)


def blobs(seed: int, groups: int = 3, people: int = 60, spread: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    kind = np.arange(people) % groups
    middle = 6 * np.eye(groups, 5)
    return middle[kind] + spread * draw.standard_normal((people, 5)), kind


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(2, 6))
def test_the_tree_is_scikit_learns(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).standard_normal((40, 3))
    expected = AgglomerativeClustering(count, linkage="ward").fit_predict(points)
    assert adjusted_rand_score(hierarchical(points, 0).propose(count), expected) == 1.0


@settings(max_examples=15, deadline=None)
@given(seeds, st.integers(2, 6))
def test_means_of_k_means_are_nearest_to_their_own(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).standard_normal((80, 3))
    labels = kmeans_labels(points, seed, count)
    centres = np.stack([points[labels == cluster].mean(0) for cluster in range(count)])
    nearest = ((points[:, None] - centres) ** 2).sum(2).argmin(1)
    assert (nearest == labels).mean() > 0.97  # Lloyd's algorithm stops at a small movement


@pytest.mark.parametrize("seed", [1, 2])
def test_deep_embedding_finds_groups_and_repeats_itself(seed: int) -> None:
    points, kind = blobs(seed)
    clustering = deep_embedded(points, seed)
    assert adjusted_rand_score(clustering.finish(3), kind) == 1.0
    assert (deep_embedded(points, seed).space == clustering.space).all()


def test_sharpening_leaves_the_encoder_as_it_was_for_the_next_number() -> None:
    cloud = np.random.default_rng(4).standard_normal((300, 5))
    clustering = deep_embedded(cloud, 1)
    found = clustering.finish(4)
    clustering.finish(6)
    assert (clustering.finish(4) == found).all()
    assert (found != clustering.propose(4)).any()  # and it does something


def test_deep_embedding_leaves_torch_as_it_was() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    deep_embedded(blobs(0)[0], 0).finish(2)
    assert torch.get_num_threads() == threads
    assert (torch.get_rng_state() == state).all()


@given(seeds)
def test_soft_assignments_are_the_papers(seed: int) -> None:
    draw = np.random.default_rng(seed)
    latent, centres = draw.standard_normal((7, 2)), draw.standard_normal((3, 2))
    q = soft_assignment(torch.from_numpy(latent), torch.from_numpy(centres)).numpy()
    p = target_distribution(torch.from_numpy(q)).numpy()
    kernel = [[1 / (1 + sum((a - b) ** 2 for a, b in zip(z, mu, strict=True))) for mu in centres] for z in latent]
    for i in range(7):
        assert q[i] == pytest.approx([value / sum(kernel[i]) for value in kernel[i]])
        weight = [q[i][j] ** 2 / sum(row[j] for row in q) for j in range(3)]
        assert p[i] == pytest.approx([value / sum(weight) for value in weight])
