"""Recommendations for tills, web shops and kiosks: the phone's own way, with the profile over all channels."""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from contracts.consent import Purpose
from contracts.errors import PermissionDenied
from contracts.recommendations import Fallback, RecommendationRequest, RecommendationResponse
from contracts.summary import HOUR_MS
from export.inference.context import DEVICE_CLASS
from export.inference.recommender import Recommendation, Recommender
from sync_server import devices, profiles
from sync_server.active_bundle import ActiveBundle
from sync_server.devices import Device
from sync_server.identity import Proof
from sync_server.store import Store
from sync_server.subjects import Subject, subject

MAX_CACHED = 5_000  # answers, of some 4 KB each


@dataclass(frozen=True)
class _Answer:
    """All that a bundle has to say to a person in an hour."""

    candidates: Recommendation
    segment: str


class Recommendations:
    """Answers from the bundle in use; those of this hour are kept, the latest asked for."""

    def __init__(self, store: Store, bundle: ActiveBundle, max_cached: int = MAX_CACHED) -> None:
        self._store = store
        self._bundle = bundle
        self._max_cached = max_cached
        self._cached: OrderedDict[tuple[Any, ...], _Answer] = OrderedDict()
        self._lock = threading.Lock()
        self._model = threading.Lock()  # an interpreter runs one call at a time

    def answer(self, device_id: str, request: RecommendationRequest, claims: Iterable[Proof]) -> RecommendationResponse:
        """What a device is to show now; to be called outside of the event loop.

        Args:
            device_id: of the device that signed the request.
            request: what it asks.
            claims: of the request's tokens, verified.

        Raises:
            PermissionDenied: if the device was revoked.
            WireError: if the owner is no `kind:value`.
        """
        now_ms, bundle = self._store.now_ms(), self._bundle.current()
        if bundle is None:
            return RecommendationResponse(items=(), source="popularity", fallback=Fallback.NO_MODEL)
        with self._store.read() as connection:
            device = devices.check(devices.load(connection, {device_id})[device_id])
            who = self._who(connection, device, request, claims)
            if isinstance(who, Fallback):
                return _popular(bundle, request, who)
            key = (
                *(who.owner.person_id, who.version, bundle.manifest.bundle_version, bundle.has_model),
                *(now_ms // HOUR_MS, request.wish, request.device_class),
            )
            found = self._held(key)
            summary = None if found else profiles.of_owners(connection, who.owner_ids)
        if found is None:
            assert summary is not None
            with self._model:
                candidates = bundle.candidates(summary, now_ms, request.wish, {DEVICE_CLASS: request.device_class})
            found = _Answer(candidates, bundle.segment(summary, now_ms))
            self._keep(key, found)
        return _response(found, request, bundle, who.version)

    def _who(
        self, connection: Connection, device: Device, request: RecommendationRequest, claims: Iterable[Proof]
    ) -> Subject | Fallback:
        """Whose profile may be used, or why none."""
        if request.owner is None:
            return Fallback.NO_OWNER
        try:
            who = subject(connection, self._store.keys, device, request.owner, claims)
        except PermissionDenied:
            return Fallback.NO_PROOF
        if who is None:
            return Fallback.NO_HISTORY
        return who if Purpose.PERSONALIZATION in who.allowed else Fallback.NO_CONSENT

    def _held(self, key: tuple[Any, ...]) -> _Answer | None:
        with self._lock:
            found = self._cached.get(key)
            if found is not None:
                self._cached.move_to_end(key)
            return found

    def _keep(self, key: tuple[Any, ...], answer: _Answer) -> None:
        with self._lock:
            self._cached[key] = answer
            while len(self._cached) > self._max_cached:
                self._cached.popitem(last=False)


def _response(
    found: _Answer, request: RecommendationRequest, bundle: Recommender, version: int
) -> RecommendationResponse:
    chosen = found.candidates.best(request.count, frozenset(request.exclude))
    missing = None if chosen.source == "model" else Fallback.NO_HISTORY if bundle.has_model else Fallback.NO_MODEL
    return RecommendationResponse(
        items=chosen.items,
        scores=chosen.scores,
        source=chosen.source,
        fallback=missing,
        segment=found.segment,
        bundle_version=bundle.manifest.bundle_version,
        profile_version=version,
    )


def _popular(bundle: Recommender, request: RecommendationRequest, why: Fallback) -> RecommendationResponse:
    """For whom nothing personal may be used: what everyone takes."""
    return RecommendationResponse(
        items=bundle.popular().best(request.count, frozenset(request.exclude)).items,
        source="popularity",
        fallback=why,
        bundle_version=bundle.manifest.bundle_version,
    )
