import numpy as np
import pytest
import torch

from contracts.errors import ConfigError
from training.sequence.transformer import NextItemTransformer, TransformerShape

SHAPE = TransformerShape(width=16, blocks=2, heads=2, length=10)


@pytest.fixture
def model() -> NextItemTransformer:
    torch.manual_seed(0)
    found = NextItemTransformer(SHAPE, 30)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.normal_(0.0, 0.3)
    return found.eval()


def test_a_position_does_not_see_what_follows(model: NextItemTransformer):
    items = torch.randint(1, 31, (1, 8))
    changed = items.clone()
    changed[0, 5:] = torch.randint(1, 31, (3,))
    size = torch.tensor([8])
    torch.testing.assert_close(model(items, size)[0, :5], model(changed, size)[0, :5])
    assert not torch.allclose(model(items, size)[0, 5], model(changed, size)[0, 5])


def test_padding_changes_nothing(model: NextItemTransformer):
    """A short history scores the same alone and beside a long one."""
    recent = np.zeros((2, 10), np.int32)
    recent[0, -3:] = [4, 5, 6]
    recent[1] = np.arange(1, 11)
    torch.testing.assert_close(model.scores(recent)[:1], model.scores(recent[:1]))
    torch.testing.assert_close(model.scores(recent)[:1], model.scores(recent[:1, -4:]))


def test_order_matters(model: NextItemTransformer):
    assert not torch.allclose(model.scores(np.array([[1, 2, 3]])), model.scores(np.array([[2, 1, 3]])))


def test_an_empty_history_has_scores(model: NextItemTransformer):
    assert torch.isfinite(model.scores(np.zeros((1, 10), np.int32))).all()


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(ConfigError, match="take a multiple of 4"):
        TransformerShape(width=30, heads=4)
