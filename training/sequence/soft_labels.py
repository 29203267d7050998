"""What a next-item teacher says after every event, as arrays: all that distillation needs to know of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.arrays import load_arrays
from training.sequence.sequences import Sequences
from training.sequence.transitions import NextItemTeacher
from training.sequence.transitions_of_others import TransitionsOfOthers

FILE = "next_item_labels.npz"
BATCH = 64  # windows
SCORES = 2**24  # held at once: a window's in a catalogue of usual size, one position's or a few in a large one


@dataclass(frozen=True)
class NextItemLabels:
    """After each of n events, and the vectors that the teacher's hidden states are compared with."""

    items: NDArray[np.int32]  # [n, K] the teacher's best, best first
    log_share: NDArray[np.float16]  # [n, K] their log probabilities among all not yet taken; -inf where fewer are left
    vectors: NDArray[np.float32]  # [items + 1, width]
    bias: NDArray[np.float32]  # [items + 1]


@torch.no_grad()
def make_next_item_labels(
    teacher: NextItemTeacher, sequences: Sequences, most: int, progress: Callable[[int, int], None] | None = None
) -> NextItemLabels:
    """Ask the teacher after every event, with at least half the length that it reads before it where there is as much.

    Transitions are those of the sequences, heeded as the teacher does, but for each event's own.

    Args:
        teacher: trained.
        sequences: of n events, those that it was trained on, or more.
        most: K.
        progress: called with windows done and all windows.
    """
    model = teacher.transformer.eval()
    others = TransitionsOfOthers.of(sequences) if teacher.heed else None
    length, device = model.shape.length, model.bias.device
    half = max(length // 2, 1)
    most = min(most, model.items)
    positions = max(SCORES // (model.items + 1), 1)
    items = np.zeros((len(sequences.item), most), np.int32)
    log_share = np.zeros((len(sequences.item), most), np.float16)
    windows = [
        (int(start) + first, int(start) + min(first + length, size), first)
        for start, size in zip(sequences.start[:-1], sequences.sizes().tolist(), strict=True)
        for first in range(0, max(size - half, 1), half)
        if size
    ]
    windows.sort(key=lambda window: window[1] - window[0])
    for done in range(0, len(windows), BATCH):
        some = windows[done : done + BATCH]
        size = torch.tensor([end - begin for begin, end, _ in some], device=device)
        history = np.zeros((len(some), int(size.max())), np.int64)
        for row, (begin, end, _) in enumerate(some):
            history[row, : end - begin] = sequences.item[begin:end]
        hidden = model(torch.from_numpy(history).to(device), size)
        for row, (begin, end, first) in enumerate(some):
            known = half if first else 0  # places that the window before this one has said, with more before them
            place = begin + known
            for state in hidden[row, known : end - begin].split(positions):
                scores = state @ model.table.weight.T + model.bias
                event = np.arange(place, place + len(state))
                if others is not None:
                    scores += teacher.heed * others.log_shares(event).to(device)
                scores.masked_fill_(torch.from_numpy(sequences.taken_before(event)).to(device), -torch.inf)
                best = scores.log_softmax(1).topk(most)
                values = best.values.nan_to_num(nan=-torch.inf, neginf=-torch.inf)  # nothing is left to take
                items[event], log_share[event] = best.indices.cpu().numpy(), values.cpu().numpy()
                place += len(state)
        if progress:
            progress(min(done + BATCH, len(windows)), len(windows))
    return NextItemLabels(
        items, log_share, model.table.weight.detach().cpu().numpy().copy(), model.bias.detach().cpu().numpy().copy()
    )


def save_next_item_labels(labels: NextItemLabels, folder: Path) -> None:
    np.savez(folder / FILE, **vars(labels))


def load_next_item_labels(folder: Path) -> NextItemLabels:
    """Read what `save_next_item_labels` wrote.

    Raises:
        RunError: if the folder holds none.
    """
    return load_arrays(NextItemLabels, folder / FILE, "next-item labels")
