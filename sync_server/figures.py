"""What is known of a person, in figures: for channels that do not hold the profile themselves."""

from collections.abc import Iterable

from contracts.affinities import category_affinities, price_affinities
from contracts.consent import Purpose
from contracts.profile import ProfileFigures, ProfileRequest, ProfileResponse
from contracts.rfm import rfm_of
from contracts.summary import HOUR_MS, Summary
from contracts.windows import HourCounts, window_counts
from export.inference.recommender import Recommender
from sync_server import consents, devices, hour_counts, profiles
from sync_server.active_bundle import ActiveBundle
from sync_server.identity import Proof
from sync_server.store import Store
from sync_server.subjects import subject


def profile_of(
    store: Store, bundle: ActiveBundle, device_id: str, request: ProfileRequest, claims: Iterable[Proof]
) -> ProfileResponse:
    """A person's figures over all their owners.

    Args:
        bundle: whose catalogue and segments are used.
        device_id: of the device that signed the request.
        request: what it asks.
        claims: of the request's tokens, verified.

    Raises:
        PermissionDenied: if the device may not be told about this owner, or was revoked.
        WireError: if the owner is no `kind:value`.
    """
    now_ms = store.now_ms()
    with store.read() as connection:
        device = devices.check(devices.load(connection, {device_id})[device_id])
        who = subject(connection, store.keys, device, request.owner, claims)
        if who is None:
            return ProfileResponse(owner=request.owner, version=0, consents=profiles.decisions({}, ()))
        own = consents.of_owners(connection, [who.owner.id])[who.owner.id]
        told = ProfileResponse(owner=request.owner, version=who.version, consents=profiles.decisions(own, who.allowed))
        if Purpose.PERSONALIZATION not in who.allowed:
            return told
        summary = profiles.of_owners(connection, who.owner_ids)
        counts = hour_counts.of_owners(connection, who.owner_ids)
    return ProfileResponse(
        owner=told.owner,
        version=told.version,
        consents=told.consents,
        figures=figures_of(summary, counts, now_ms, bundle.current()),
    )


def figures_of(summary: Summary, counts: HourCounts, now_ms: int, bundle: Recommender | None) -> ProfileFigures:
    """Figures of a profile at a moment, milliseconds since 1970."""
    hour = now_ms // HOUR_MS
    return ProfileFigures(
        windows=window_counts(counts, summary.orders, hour),
        rfm=rfm_of(summary, hour),
        categories=category_affinities(summary, bundle.catalogue.category_of) if bundle else {},
        price_bands=price_affinities(summary, bundle.catalogue.price_band_of) if bundle else {},
        segment=bundle.segment(summary, now_ms) if bundle else "",
        bundle_version=bundle.manifest.bundle_version if bundle else 0,
    )
