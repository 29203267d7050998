import numpy as np
import torch

from training.sequence.dropout import ByteDropout


def layer(rate: float, seed: int = 0) -> ByteDropout:
    return ByteDropout(rate, np.random.Generator(np.random.SFC64(seed)))


def test_share_and_mean_are_kept():
    x = torch.ones(400_000)
    dropped = layer(0.3)(x)
    assert abs((dropped == 0).float().mean() - 77 / 256) < 0.005
    assert abs(dropped.mean() - 1.0) < 0.005


def test_the_seed_decides():
    x = torch.ones(1000)
    assert torch.equal(layer(0.5, 3)(x), layer(0.5, 3)(x))
    assert not torch.equal(layer(0.5, 3)(x), layer(0.5, 4)(x))


def test_nothing_is_dropped_in_evaluation_or_at_rate_zero():
    x = torch.ones(1000)
    assert torch.equal(layer(0.5).eval()(x), x)
    assert torch.equal(layer(0.0)(x), x)
