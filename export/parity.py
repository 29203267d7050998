"""Do the artifacts rank as the device model does? Top 10, aware of ties, and the scores' absolute error.

Ranks and absolute errors, not correlations: wrong answers of a defective conversion may still correlate at 0.98.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from export.runtimes import Evaluator, Feed, ModuleEvaluator, Ranked

if TYPE_CHECKING:
    from compression.device_model import DeviceModel

TOP = 10
TIE = 1e-4  # scores this close may change places: far above float32's rounding of them, far below what decides a rank


class Fp32Parity(msgspec.Struct, frozen=True):
    """An artifact of float32 weights against the device model."""

    same_top_10: float  # share of the histories
    max_abs_score_error: float


class ShippedParity(msgspec.Struct, frozen=True):
    """A shipped artifact against the device model in float32."""

    top_10_overlap: float  # mean share of the device model's top 10 that the artifact's holds too
    max_abs_score_error: float


class Parity(msgspec.Struct, frozen=True):
    """What the report's `parity` holds."""

    histories: int
    fp32: dict[str, Fp32Parity]
    shipped: dict[str, ShippedParity]


def same_top(ours: Ranked, theirs: Ranked, top: int = TOP, tie: float = TIE) -> bool:
    """Whether two answers have the same top, up to ties.

    With every score off by at most the tie, an item in both tops has the same score, and an item in one of them only
    has the score of the other's last item, each within the tie.
    """
    left, right = _scores(ours, top), _scores(theirs, top)
    last_left, last_right = float(ours[1][:top][-1]), float(theirs[1][:top][-1])
    return all(
        abs(left.get(item, last_left) - right.get(item, last_right)) <= tie for item in left.keys() | right.keys()
    )


def top_overlap(ours: Ranked, reference: Ranked, top: int = TOP, tie: float = TIE) -> float:
    """Share of our top that the reference has in its own, or that ties with the last there.

    Of an item that the reference does not list at all, only so much is known that its score is at most the last listed.
    """
    known, last = _scores(reference, len(reference[0])), float(reference[1][-1])
    floor = float(reference[1][:top][-1]) - tie
    kept = ours[0][:top].tolist()
    return sum(known.get(item, last) >= floor for item in kept) / len(kept)


def score_error(ours: Ranked, reference: Ranked) -> float:
    """Largest absolute difference of the scores of the items that both answers hold; infinite if one is not finite."""
    left, right = _scores(ours, len(ours[0])), _scores(reference, len(reference[0]))
    errors = [abs(left[item] - right[item]) for item in left.keys() & right.keys()]
    return max((error if np.isfinite(error) else np.inf for error in errors), default=np.inf)


def measure_parity(
    model: "DeviceModel",
    feeds: Iterable[Feed],
    fp32: Mapping[str, Evaluator],
    shipped: Mapping[str, Evaluator],
    progress: Callable[[int], None] = lambda done: None,
) -> Parity:
    """Compare artifacts with the device model.

    Args:
        model: what all artifacts were exported from.
        feeds: the histories, such as `training.histories.Histories.feeds()`.
        fp32: artifact -> evaluator of its float32 export.
        shipped: artifact -> evaluator of what the bundle holds.
        progress: called with the number of histories done.
    """
    reference = ModuleEvaluator(model)
    same: dict[str, list[bool]] = {name: [] for name in fp32}
    overlap: dict[str, list[float]] = {name: [] for name in shipped}
    fp32_error, shipped_error = dict.fromkeys(fp32, 0.0), dict.fromkeys(shipped, 0.0)
    done = 0
    for done, feed in enumerate(feeds, start=1):
        expected = reference.rank(feed)
        for name, evaluator in fp32.items():
            answer = evaluator.rank(feed)
            same[name].append(same_top(answer, expected))
            fp32_error[name] = max(fp32_error[name], score_error(answer, expected))
        for name, evaluator in shipped.items():
            answer = evaluator.rank(feed)
            overlap[name].append(top_overlap(answer, expected))
            shipped_error[name] = max(shipped_error[name], score_error(answer, expected))
        progress(done)
    return Parity(
        histories=done,
        fp32={name: Fp32Parity(float(np.mean(same[name])), fp32_error[name]) for name in fp32},
        shipped={name: ShippedParity(float(np.mean(overlap[name])), shipped_error[name]) for name in shipped},
    )


def _scores(ranked: Ranked, top: int) -> dict[int, float]:
    return dict(zip(ranked[0][:top].tolist(), ranked[1][:top].tolist(), strict=True))
