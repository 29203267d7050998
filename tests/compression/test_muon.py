"""Muon here and PyTorch's are one optimizer."""

import numpy as np
import pytest
import tensorflow as tf
import torch

from compression.muon import Muon, orthogonalised

SHAPES = [(6, 6), (4, 12), (12, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_come_near_1_and_vectors_stay(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    left, _, right = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    values = np.linspace(1.0, 0.2, min(shape))
    found = orthogonalised(tf.constant((left * values) @ right, tf.float32)).numpy()
    strength = left.T @ found @ right.T
    assert np.abs(strength - np.diag(np.diag(strength))).max() < 1e-3
    assert np.diag(strength).min() > 0.6
    assert np.diag(strength).max() < 1.3


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_are_pytorch_s(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    start = rng.normal(size=shape).astype(np.float32)
    ours, theirs = tf.Variable(start), torch.nn.Parameter(torch.from_numpy(start.copy()))
    muon = Muon(0.02, decay=0.1)
    reference = torch.optim.Muon([theirs], 0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        gradient = rng.normal(size=shape).astype(np.float32)
        muon.apply_gradients([(tf.constant(gradient), ours)])
        theirs.grad = torch.from_numpy(gradient)
        reference.step()
    moved = np.abs(ours.numpy() - start).max()
    # PyTorch multiplies in bfloat16, of 8 bits.
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), atol=0.03 * moved)


def test_the_rate_may_change_while_it_trains() -> None:
    variable, muon = tf.Variable(np.eye(4, dtype=np.float32)), Muon(0.1)
    muon.learning_rate.assign(0.0)
    muon.apply_gradients([(tf.ones((4, 4)), variable)])
    assert np.array_equal(variable.numpy(), np.eye(4))
