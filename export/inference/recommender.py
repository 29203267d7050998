"""Recommendations from the active bundle, without any network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from contracts import codec
from contracts.bundle import CATALOGUE, GOLDENS, WISH, Goldens, Manifest
from contracts.errors import BundleError, WireError
from contracts.summary import HOUR_MS, Summary, history_of, item_activities
from export.inference.catalogue import EVERYONE, Catalogue
from export.inference.context import ANYTHING, HOUR_OF_WEEK, SEGMENT, encode_context, hour_of_week
from export.inference.goldens import check_goldens
from export.inference.runtime import Runtime


class Recommendation(msgspec.Struct, frozen=True):
    """Items, best first."""

    items: tuple[str, ...]
    scores: tuple[float, ...]  # empty for popularity
    source: Literal["model", "popularity"]


class Recommender:
    """One bundle, ready to be asked."""

    def __init__(self, bundle: Path, manifest: Manifest, traits: Mapping[str, str] | None = None) -> None:
        """
        Args:
            bundle: directory of a verified bundle.
            manifest: the bundle's.
            traits: context values that do not change with time, such as the device class and the person's segment.

        Raises:
            BundleError: if the model or the catalogue cannot be loaded.
        """
        self.manifest = manifest
        self.catalogue = Catalogue(bundle / CATALOGUE)
        self._traits = dict(traits or {})
        self._runtime = Runtime(bundle, manifest)

    def recommend(self, summary: Summary, now_ms: int, count: int, wish: str = ANYTHING) -> Recommendation:
        """What the person may want now; who has no history is shown what is popular in their segment.

        Args:
            summary: what is known about the person.
            now_ms: milliseconds since 1970.
            count: at most the manifest's `candidates`.
            wish: one of `contracts.bundle.WISHES`: with "new", nothing of the person's history comes back.
        """
        history = history_of(summary, now_ms // HOUR_MS, self.manifest.history_length, self.catalogue.index_of)
        if not history.items:
            popular = self.catalogue.popular(self._traits.get(SEGMENT, EVERYONE), count)
            return Recommendation(tuple(map(self.catalogue.item_id, popular)), (), "popularity")
        ranking = self._runtime.recommend(history, self.context(now_ms, wish))
        had = {self.catalogue.index_of(item) for item in item_activities(summary)} if wish != ANYTHING else set()
        best = [pair for pair in zip(ranking.items, ranking.scores, strict=True) if pair[0] not in had][:count]
        return Recommendation(
            tuple(self.catalogue.item_id(item) for item, _ in best), tuple(score for _, score in best), "model"
        )

    def context(self, now_ms: int, wish: str = ANYTHING) -> tuple[int, ...]:
        """The model's context codes at a moment."""
        now = {WISH: wish, HOUR_OF_WEEK: str(hour_of_week(now_ms))}
        return encode_context(self.manifest.context, self._traits | now)


def check_bundle(bundle: Path, manifest: Manifest) -> None:
    """Whether a bundle whose files are whole works on this device: model, catalogue and goldens.

    Raises:
        GoldenError: if the model answers a golden history differently.
        BundleError: if the model or the catalogue cannot be loaded.
    """
    Catalogue(bundle / CATALOGUE)
    try:
        goldens = codec.decode((bundle / GOLDENS).read_bytes(), Goldens)
    except WireError as error:
        raise BundleError(f"{GOLDENS} cannot be read: {error}") from None
    check_goldens(Runtime(bundle, manifest), goldens)
