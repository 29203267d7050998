import numpy as np
import pytest
import torch

from training.sequence.heed import HEEDS, Choice, best_heed

ITEMS = 30


def choice(scores: np.ndarray, log_shares: np.ndarray, wanted: int, hidden: tuple[int, ...] = ()) -> Choice:
    came, out = torch.zeros(1, ITEMS + 1, dtype=torch.bool), torch.zeros(1, ITEMS + 1, dtype=torch.bool)
    came[0, wanted] = True
    out[0, list(hidden)] = True
    return Choice(*(torch.tensor(each[None], dtype=torch.float32) for each in (scores, log_shares)), came, out)


def ramp() -> np.ndarray:
    """Padding best of all, then item 1, 2, ..."""
    return -np.arange(ITEMS + 1.0)


@pytest.mark.parametrize("needed", HEEDS)
def test_as_much_as_puts_what_came_first(needed: float) -> None:
    """Item 8 stands 7 below item 1; its share lifts it by as much at the wanted heed, and item 9 soon passes it."""
    log_shares = np.zeros(ITEMS + 1)
    if needed:
        log_shares[8] = 7.1 / needed
        log_shares[9] = log_shares[8] + 1 / needed - 0.05  # passes item 8 just above the wanted heed
    else:
        log_shares[1] = -1.0
    assert best_heed([choice(ramp(), log_shares, 8 if needed else 1)]) == needed


def test_what_was_had_and_padding_do_not_count() -> None:
    log_shares = np.zeros(ITEMS + 1)
    log_shares[5] = 10.0
    hidden = (1, 2, 3, 4)
    assert best_heed([choice(ramp(), log_shares, 5, hidden)]) == 0.0  # first at any heed: the least is taken
    assert best_heed([choice(ramp(), log_shares, 5)]) > 0.0


def test_where_nothing_came_nothing_is_heeded() -> None:
    one = choice(ramp(), np.ones(ITEMS + 1), 3)
    assert best_heed([Choice(one.scores, one.log_shares, torch.zeros_like(one.wanted), one.hidden)]) == 0.0
    assert best_heed([]) == 0.0
