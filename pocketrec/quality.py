"""Quality of every model of a run, side by side: what the report, the verbs and the bars are made of."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from contracts.bundle import TFLITE

if TYPE_CHECKING:
    from contracts.bundle import Estimate
    from training.evaluation import PersonMetrics

BASELINES = ("popularity", "personal_frequency", "item_knn", "user_knn", "sequence_rules", "frequency_user_knn")
ALL_ITEMS, NEW_ITEMS = "all_items", "new_items"
BARS = {ALL_ITEMS: -0.02, NEW_ITEMS: 0.0}  # which the lower bound of the relative difference must be above


def load_quality(folders: Iterable[Path]) -> "dict[str, PersonMetrics]":
    """Model -> quality of each person, from the folders of all steps that evaluate."""
    from training.people_quality import load_people_quality

    return {name: metrics for folder in folders for name, metrics in load_people_quality(folder).items()}


def quality_of(people: "Mapping[str, PersonMetrics]", seed: int) -> dict[str, dict]:
    """Means over people with 95 % intervals, as the report's `quality`."""
    from training.evaluation import quality

    found: dict[str, dict] = {}
    for name, metrics in people.items():
        stated = quality(metrics, seed)
        found[name] = {
            "ndcg_at_10": plain(stated.ndcg_at_10),
            "recall_at_10": plain(stated.recall_at_10),
            "new_items": {"ndcg_at_10": plain(stated.new_items_ndcg_at_10)},
        }
    return found


def comparison(people: "Mapping[str, PersonMetrics]", seed: int, model: str = TFLITE) -> dict[str, dict]:
    """A model against the baseline that is best on the same people, on all items and on new ones."""
    import numpy as np

    from training.evaluation import relative_difference

    found = {}
    for task, metric in ((ALL_ITEMS, "ndcg"), (NEW_ITEMS, "new_ndcg")):
        values = {name: getattr(people[name], metric) for name in (model, *BASELINES) if name in people}
        ours = values.pop(model)
        best = max(values, key=lambda name: float(np.nanmean(values[name])))
        difference = relative_difference(ours, values[best], seed)
        found[task] = {"best_baseline": best, "relative_difference": plain(difference)}
    return found


def bars(compared: Mapping[str, dict]) -> dict[str, bool]:
    """Whether each bar is met."""
    return {task: compared[task]["relative_difference"]["low"] > bar for task, bar in BARS.items()}


def plain(estimate: "Estimate") -> dict[str, float]:
    """JSON values."""
    return msgspec.to_builtins(estimate)
