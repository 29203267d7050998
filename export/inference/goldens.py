"""Does the bundle's model answer here as it did where it was built? Compared tie-aware, within a score tolerance."""

from collections.abc import Callable

from contracts.bundle import TFLITE, GoldenAnswer, GoldenHistory, Goldens
from contracts.errors import GoldenError
from contracts.summary import History
from export.inference.runtime import Ranking, Runtime


def check_goldens(runtime: Runtime, goldens: Goldens) -> None:
    """Run every golden history through `model.tflite`.

    Raises:
        GoldenError: if an answer differs by more than ties and the tolerance explain; the message names the history.
    """

    def answer(golden: GoldenHistory) -> Ranking:
        history = History(golden.items, golden.events, golden.counts, golden.ages)
        return runtime.recommend(history, golden.context)

    check_answers(answer, goldens, TFLITE)


def check_answers(answer: Callable[[GoldenHistory], Ranking], goldens: Goldens, artifact: str) -> None:
    """Compare an artifact's answers to all golden histories.

    Raises:
        GoldenError: if an answer differs, or the goldens have none of this artifact.
    """
    expected = goldens.answers.get(artifact, ())
    if len(expected) != len(goldens.histories) or not expected:
        raise GoldenError(f"goldens have {len(expected)} answers of {artifact} to {len(goldens.histories)} histories")
    for golden, wanted in zip(goldens.histories, expected, strict=True):
        if difference := difference_of(answer(golden), wanted, goldens.tolerance):
            raise GoldenError(f"{artifact} answers golden {golden.name!r} with {difference}: keep the bundle held")


def difference_of(found: Ranking, wanted: GoldenAnswer, tolerance: float) -> str:
    """What tells two answers apart beyond ties, empty if nothing does.

    With every score off by at most the tolerance, two items may change places only if their scores are that close, and
    an item may leave the list only for another that ties with it at its end. So: an item in both lists has the same
    score, and an item in one of them only has the score of the other's last item, each within the tolerance.
    """
    if len(found.items) != len(wanted.items) or len(set(found.items)) != len(found.items):
        return f"{len(set(found.items))} different items instead of {len(wanted.items)}"
    ours, theirs = (
        dict(zip(found.items, found.scores, strict=True)),
        dict(zip(wanted.items, wanted.scores, strict=True)),
    )
    for item in sorted(ours.keys() | theirs.keys()):
        error = abs(ours.get(item, found.scores[-1]) - theirs.get(item, wanted.scores[-1]))
        if not error <= tolerance:  # a NaN is no agreement
            return f"item {item} off by {error:.3g}, more than {tolerance:.3g}"
    return ""
