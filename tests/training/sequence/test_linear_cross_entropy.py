import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.sequence import linear_cross_entropy as module
from training.sequence.linear_cross_entropy import linear_cross_entropy

cases = settings(max_examples=25, deadline=None)
sizes = given(st.integers(1, 40), st.integers(1, 3), st.integers(2, 30), st.integers(0, 999))


def held_to_automatic_differentiation(
    rows: int, future: int, items: int, seed: int, corrected: bool, taking: bool
) -> None:
    """Value and gradients are those of the formula, written down plainly."""
    generator = torch.Generator().manual_seed(seed)
    parts = [
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((rows, 5), (items, 5), (items,))
    ]
    targets = torch.randint(0, items, (rows, future), generator=generator)
    share = torch.rand(rows, future, generator=generator, dtype=torch.float64).softmax(1)
    correction = torch.zeros(items, dtype=torch.float64)
    if corrected:
        correction = torch.randn(items, generator=generator, dtype=torch.float64)
        correction[torch.rand(items, generator=generator) < 0.3] = torch.inf  # which compete with nothing
    taken = torch.rand(rows, items, generator=generator) < (0.4 if taking else 0.0)
    ours, plain = ([part.clone().requires_grad_() for part in parts] for _ in range(2))
    loss = linear_cross_entropy(*ours, targets, share, correction if corrected else None, taken if taking else None)
    hidden, table, bias = plain
    scores = hidden @ table.T + bias
    own = torch.zeros(rows, items, dtype=torch.bool).scatter_(1, targets, True)
    others = (scores - correction).masked_fill(taken, -torch.inf)
    log_softmax = scores - torch.where(own, scores, others).logsumexp(1, keepdim=True)
    expected = -(log_softmax.gather(1, targets) * share).sum(1).mean()
    torch.testing.assert_close(loss, expected)
    (3.0 * loss).backward()
    (3.0 * expected).backward()
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@cases
@sizes
def test_value_and_gradients_are_those_of_automatic_differentiation(rows: int, future: int, items: int, seed: int):
    held_to_automatic_differentiation(rows, future, items, seed, corrected=False, taking=False)


@cases
@sizes
def test_a_correction_lowers_all_but_a_positions_own_targets(rows: int, future: int, items: int, seed: int):
    held_to_automatic_differentiation(rows, future, items, seed, corrected=True, taking=False)


@cases
@sizes
def test_what_was_taken_competes_with_nothing(rows: int, future: int, items: int, seed: int):
    held_to_automatic_differentiation(rows, future, items, seed, corrected=bool(seed % 2), taking=True)


def test_blocks_are_joined(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    hidden, table = torch.randn(20, 4, generator=generator), torch.randn(9, 4, generator=generator)
    bias, targets, share = torch.zeros(9), torch.randint(0, 9, (20, 1), generator=generator), torch.ones(20, 1)
    whole = linear_cross_entropy(hidden, table, bias, targets, share)
    monkeypatch.setattr(module, "BLOCK", 7)
    torch.testing.assert_close(linear_cross_entropy(hidden, table, bias, targets, share), whole)
