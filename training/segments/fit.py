"""From people's features to the definition of segments."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from contracts.errors import DataError
from contracts.project import Segmentation
from contracts.segments import FEATURES, FREQUENCY, VALUE, Considered, Method, SegmentDefinition
from training.prepared import Prepared
from training.segments.clustering import Clustering
from training.segments.features import features_of_people
from training.segments.hierarchical import hierarchical
from training.segments.kmeans import kmeans
from training.segments.names import segment_names
from training.segments.selection import LEAST_PEOPLE, choose, consider, counts_to_try, scores

SAMPLE = 4_000  # people that segments are sought in; what needs all distances between them grows with its square
SAME = 1e-9  # deviation up to which people do not differ in a feature
FEWEST_PEOPLE: dict[Method, int] = {"kmeans": 0, "hierarchical": 20, "deep_embedded": 200}


def _clustering(method: Method) -> Callable[[NDArray[np.float64], int], Clustering]:
    if method == "deep_embedded":
        from training.segments.deep_embedded import deep_embedded  # torch is loaded where it is needed

        return deep_embedded
    return {"kmeans": kmeans, "hierarchical": hierarchical}[method]


def fit_definition(prepared: Prepared, settings: Segmentation, seed: int) -> SegmentDefinition:
    """Seek segments among people who are not phones, in the training weeks.

    Raises:
        DataError: if there are too few people for what is asked.
    """
    features = features_of_people(prepared)
    values = features.values[features.known & ~prepared.is_phone]
    if len(values) > SAMPLE:
        values = values[np.sort(np.random.default_rng(seed).permutation(len(values))[:SAMPLE])]
    differ = values.std(0) > SAME if len(values) else np.zeros(len(FEATURES), bool)
    names = tuple(name for name, used in zip(FEATURES, differ, strict=True) if used)
    values = values[:, differ]
    mean, deviation = (values.mean(0), values.std(0)) if len(values) else (np.zeros(0), np.ones(0))
    points = (values - mean) / deviation
    labels, considered = _labels(points, settings, seed)
    centres, labels = _most_valuable_first(points, labels, names)
    nearest = nearest_centre(points, centres)
    silhouette, davies_bouldin = scores(points, nearest) if len(np.unique(nearest)) > 1 else (None, None)
    return SegmentDefinition(
        method=settings.method,
        window_hours=features.window_hours,
        features=names,
        mean=tuple(mean.tolist()),
        deviation=tuple(deviation.tolist()),
        centres=tuple(tuple(centre) for centre in centres.tolist()),
        names=segment_names([dict(zip(names, centre, strict=True)) for centre in centres.tolist()]),
        people=tuple(np.bincount(nearest, minlength=len(centres)).tolist()),
        considered=considered,
        silhouette=silhouette,
        davies_bouldin=davies_bouldin,
        agreement=float((nearest == labels).mean()) if len(labels) else 1.0,
    )


def nearest_centre(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """int64 [n]: which centre is nearest, the first of two as near; as `contracts.segments.segment_of`, from 0."""
    if not len(centres):
        return np.zeros(0, np.int64)
    return np.stack([((points - centre) ** 2).sum(1) for centre in centres], axis=1).argmin(1)


def _labels(
    points: NDArray[np.float64], settings: Segmentation, seed: int
) -> tuple[NDArray[np.int64], tuple[Considered, ...]]:
    """Each point's cluster, and which numbers of clusters were compared for it."""
    people, distinct = len(points), len(np.unique(points, axis=0)) if points.size else min(len(points), 1)
    asked = None if settings.count == "auto" else settings.count
    needed = max(FEWEST_PEOPLE[settings.method], LEAST_PEOPLE * (asked or 0))
    if people < needed:
        raise DataError(
            f"[segments] method = {settings.method!r} with count = {settings.count!r} needs {needed} people who "
            f'bought or browsed in the training weeks, the log has {people}: use method = "kmeans" with count = "auto"'
        )
    if asked and distinct <= asked:
        raise DataError(
            f"[segments] count = {asked}, but the people of the training weeks are of {distinct} kinds only: "
            'use fewer segments or count = "auto"'
        )
    counts = counts_to_try(people, distinct)
    if not asked and not counts:
        return np.zeros(people, np.int64), ()
    clustering = _clustering(settings.method)(points, seed)
    if asked:
        return clustering.finish(asked), ()
    considered = consider(clustering.space, clustering.propose, counts)
    count = choose(considered)
    return clustering.finish(count) if count > 1 else np.zeros(people, np.int64), considered


def _most_valuable_first(
    points: NDArray[np.float64], labels: NDArray[np.int64], names: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The clusters' means by what people spend, or how often they come where nobody's spending is known, and labels."""
    centres = np.stack([points[labels == cluster].mean(0) for cluster in np.unique(labels)]) if len(labels) else points
    kept = np.unique(nearest_centre(points, centres))  # a mean may be nearest to nobody
    by = next((names.index(each) for each in (VALUE, FREQUENCY) if each in names), None)
    worth = centres[kept, by] if by is not None else np.zeros(len(kept))
    order = kept[np.argsort(-worth, kind="stable")]
    place = np.full(len(centres), -1, np.int64)
    place[order] = np.arange(len(order))
    return centres[order], place[labels]
