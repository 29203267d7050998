"""Recommendations from a bundle, without any network: what a phone shows, and what every other channel shows too."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from contracts import codec
from contracts.bundle import CATALOGUE, GOLDENS, WISH, Goldens, Manifest
from contracts.errors import BundleError, WireError
from contracts.segments import segment_of_summary
from contracts.summary import HOUR_MS, Summary, history_of, item_activities
from export.catalogue import EVERYONE
from export.inference.catalogue import Catalogue
from export.inference.context import ANYTHING, HOUR_OF_WEEK, SEGMENT, encode_context, hour_of_week
from export.inference.goldens import check_goldens
from export.inference.runtime import Runtime


class Recommendation(msgspec.Struct, frozen=True):
    """Items, best first."""

    items: tuple[str, ...]
    scores: tuple[float, ...]  # empty for popularity
    source: Literal["model", "popularity"]

    def best(self, count: int, exclude: Collection[str] = ()) -> "Recommendation":
        """The first `count` of them, some items left out."""
        places = [place for place, item in enumerate(self.items) if item not in exclude][:count]
        return Recommendation(
            tuple(self.items[place] for place in places),
            tuple(self.scores[place] for place in places) if self.scores else (),
            self.source,
        )


class Recommender:
    """One bundle, ready to be asked."""

    def __init__(
        self, bundle: Path, manifest: Manifest, traits: Mapping[str, str] | None = None, *, with_model: bool = True
    ) -> None:
        """
        Args:
            bundle: directory of a verified bundle; not needed any more once this returns.
            manifest: the bundle's.
            traits: context values that do not change with time, such as the device class; a segment given here stands,
                else the bundle's definition finds the person's.
            with_model: without, everybody is shown what is popular in their segment.

        Raises:
            BundleError: if the model or the catalogue cannot be loaded.
        """
        self.manifest = manifest
        self.catalogue = Catalogue(bundle / CATALOGUE)
        self._traits = dict(traits or {})
        self._runtime = Runtime(bundle, manifest) if with_model else None

    @property
    def has_model(self) -> bool:
        return self._runtime is not None

    def recommend(
        self, summary: Summary, now_ms: int, count: int, wish: str = ANYTHING, exclude: Collection[str] = ()
    ) -> Recommendation:
        """What the person may want now; who has no history is shown what is popular in their segment.

        Args:
            summary: what is known about the person.
            now_ms: milliseconds since 1970.
            count: at most the manifest's `candidates`, of which those excluded are taken away.
            wish: one of `contracts.bundle.WISHES`: with "new", nothing of the person's history comes back.
            exclude: items not to be shown.
        """
        return self.candidates(summary, now_ms, wish).best(count, exclude)

    def candidates(
        self, summary: Summary, now_ms: int, wish: str = ANYTHING, traits: Mapping[str, str] | None = None
    ) -> Recommendation:
        """All that the bundle has to say to a person in the hour of `now_ms`; arguments as of `recommend`.

        Args:
            traits: of this question, before those of the recommender.
        """
        given = self._traits | dict(traits or {})
        if SEGMENT not in given:
            given[SEGMENT] = self.segment(summary, now_ms)
        history = history_of(summary, now_ms // HOUR_MS, self.manifest.history_length, self.catalogue.index_of)
        if self._runtime is None or not history.items:
            return self.popular(given[SEGMENT])
        ranking = self._runtime.recommend(history, self._codes(given, now_ms, wish))
        had = {self.catalogue.index_of(item) for item in item_activities(summary)} if wish != ANYTHING else set()
        best = [pair for pair in zip(ranking.items, ranking.scores, strict=True) if pair[0] not in had]
        return Recommendation(
            tuple(self.catalogue.item_id(item) for item, _ in best), tuple(score for _, score in best), "model"
        )

    def popular(self, segment: str = EVERYONE) -> Recommendation:
        """What a segment takes most, best first; everyone's where the segment is unknown."""
        items = tuple(map(self.catalogue.item_id, self.catalogue.popular(segment)))
        return Recommendation(items, (), "popularity")

    def segment(self, summary: Summary, now_ms: int) -> str:
        """Name of a person's segment by the bundle's definition; `EVERYONE` where it has none or the person is new."""
        definition = self.manifest.segments
        if definition is None:
            return EVERYONE
        code = segment_of_summary(definition, summary, now_ms // HOUR_MS, self.catalogue.category_of)
        return definition.names[code - 1] if code else EVERYONE

    def context(self, summary: Summary, now_ms: int, wish: str = ANYTHING) -> tuple[int, ...]:
        """The model's context codes for a person at a moment."""
        return self._codes({SEGMENT: self.segment(summary, now_ms)} | self._traits, now_ms, wish)

    def _codes(self, given: Mapping[str, str], now_ms: int, wish: str) -> tuple[int, ...]:
        now = {WISH: wish, HOUR_OF_WEEK: str(hour_of_week(now_ms))}
        return encode_context(self.manifest.context, dict(given) | now)


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
