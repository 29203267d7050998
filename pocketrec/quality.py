"""Quality of every model of a run, side by side: what the report, the verbs and the bars are made of."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from contracts.bundle import TFLITE

if TYPE_CHECKING:
    from contracts.bundle import Estimate
    from contracts.segments import SegmentDefinition
    from training.evaluation import ListQuality, PersonMetrics, Quality
    from training.segments import Segments

BASELINES = ("popularity", "personal_frequency", "item_knn", "user_knn", "sequence_rules", "frequency_user_knn")
ALL_ITEMS, NEW_ITEMS = "all_items", "new_items"
METRIC = {ALL_ITEMS: "ndcg", NEW_ITEMS: "new_ndcg"}
BARS = {ALL_ITEMS: -0.02, NEW_ITEMS: 0.0}  # which the lower bound of the relative difference must be above


def load_quality(folders: Iterable[Path]) -> "dict[str, PersonMetrics]":
    """Model -> quality of each person, from the folders of all steps that evaluate."""
    from training.people_quality import load_people_quality

    return {name: metrics for folder in folders for name, metrics in load_people_quality(folder).items()}


def quality_of(people: "Mapping[str, PersonMetrics]", seed: int) -> dict[str, dict]:
    """Means over people with 95 % intervals, as the report's `quality`."""
    from training.evaluation import qualities

    return {name: _stated(found) for name, found in qualities(people, seed).items()}


def segments_of(people: "Mapping[str, PersonMetrics]", segments: "Segments", seed: int) -> dict[str, dict]:
    """The same of each segment, as the report's `segments`, with its own `comparison`.

    A segment with too few test people has a note instead.
    """
    from training.evaluation import LEAST_MEASURED, segment_qualities

    found: dict[str, dict] = {}
    for each in segment_qualities(people, segments.names, segments.person, seed):
        found[each.name] = {"test_people": each.people}
        if each.quality is None:
            found[each.name]["note"] = f"{each.people} test people, {LEAST_MEASURED} are needed to measure anything"
            continue
        found[each.name]["quality"] = {name: _stated(stated) for name, stated in each.quality.items()}
        mine = segments.person == segments.names.index(each.name) + 1
        found[each.name]["comparison"] = comparison({name: metrics.of(mine) for name, metrics in people.items()}, seed)
    return found


def segmentation_of(definition: "SegmentDefinition") -> dict[str, object]:
    """How the segments were found, as the report's `segmentation`."""
    return {
        "method": definition.method,
        "people": dict(zip(definition.names, definition.people, strict=True)),
        "features": definition.features,
        "silhouette": definition.silhouette,
        "davies_bouldin": definition.davies_bouldin,
        "agreement": definition.agreement,
        "considered": msgspec.to_builtins(definition.considered),
    }


def _stated(found: "Quality") -> dict[str, object]:
    return _of_list(found.all_items) | {"new_items": _of_list(found.new_items)}


def _of_list(found: "ListQuality") -> dict[str, object]:
    return {
        "ndcg_at_10": plain(found.ndcg),
        "recall_at_10": plain(found.recall),
        "mrr_at_10": plain(found.mrr),
        "hit_rate_at_10": plain(found.hit_rate),
        "novelty_bits": plain(found.novelty),
        "coverage": found.coverage,
    }


def pairs(people: "Mapping[str, PersonMetrics]", seed: int) -> dict[str, list[dict]]:
    """Every two models: the difference of their NDCG@10 and the p-value of none, on all items and on new ones."""
    from training.evaluation import compare_all

    return {
        task: [
            {
                "model": each.model,
                "other": each.other,
                "difference": plain(each.difference),
                "p_value": each.p_value,
            }
            for each in compare_all({name: getattr(metrics, metric) for name, metrics in people.items()}, seed)
        ]
        for task, metric in METRIC.items()
    }


def comparison(people: "Mapping[str, PersonMetrics]", seed: int, model: str = TFLITE) -> dict[str, dict]:
    """A model against the baseline that is best on the same people, on all items and on new ones.

    The p-value is that of no difference at all, by sign flips over people.
    """
    import numpy as np

    from training.evaluation import p_values, relative_difference

    found = {}
    for task, metric in METRIC.items():
        values = {name: getattr(people[name], metric) for name in (model, *BASELINES) if name in people}
        ours = values.pop(model)
        best = max(values, key=lambda name: float(np.nanmean(values[name])))
        difference = relative_difference(ours, values[best], seed)
        p_value = float(p_values((ours - values[best])[None], seed)[0])
        found[task] = {"best_baseline": best, "relative_difference": plain(difference), "p_value": p_value}
    return found


def bars(compared: Mapping[str, dict]) -> dict[str, bool]:
    """Whether each bar is met."""
    return {task: compared[task]["relative_difference"]["low"] > bar for task, bar in BARS.items()}


def plain(estimate: "Estimate") -> dict[str, float]:
    """JSON values."""
    return msgspec.to_builtins(estimate)
