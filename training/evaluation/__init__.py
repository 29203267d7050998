"""Quality of a ranking of the whole catalogue: averaged within a person, then over people; no sampled metrics."""

from training.evaluation.intervals import RESAMPLES, estimate, estimates, relative_difference
from training.evaluation.people import (
    BATCH,
    MEANS,
    ListMetrics,
    PersonMetrics,
    Score,
    by_person,
    evaluate,
    list_metrics,
    nothing_shown,
)
from training.evaluation.ranking import CUTOFF, gains, ndcg_of_hits, top_items
from training.evaluation.significance import Difference, compare_all, p_values
from training.evaluation.summary import (
    LEAST_MEASURED,
    ListQuality,
    Quality,
    SegmentQuality,
    qualities,
    quality,
    segment_qualities,
)

__all__ = [
    "BATCH",
    "CUTOFF",
    "LEAST_MEASURED",
    "MEANS",
    "RESAMPLES",
    "Difference",
    "ListMetrics",
    "ListQuality",
    "PersonMetrics",
    "Quality",
    "Score",
    "SegmentQuality",
    "by_person",
    "compare_all",
    "estimate",
    "estimates",
    "evaluate",
    "gains",
    "list_metrics",
    "ndcg_of_hits",
    "nothing_shown",
    "p_values",
    "qualities",
    "quality",
    "relative_difference",
    "segment_qualities",
    "top_items",
]
