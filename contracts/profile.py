"""What a till, a web shop or a kiosk may know of a person: `POST /v1/profile`, signed as every request of a device.

A phone needs no such request: it holds the profile itself and finds the same figures with the same functions.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.affinities import PriceBand
from contracts.consent import Consent, Purpose
from contracts.events import Count, EventType, Identity
from contracts.recommendations import MAX_TOKENS
from contracts.rfm import Rfm
from contracts.windows import Window


class ProfileRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    owner: Identity
    identity_tokens: Annotated[tuple[str, ...], Meta(max_length=MAX_TOKENS)] = ()  # proofs, see contracts.identity


class ProfileFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Over all owners of the person and all channels; an order that two of them saw counts once."""

    windows: dict[Window, dict[EventType, int]]
    rfm: Rfm
    categories: dict[str, float]  # shares of the fading purchases, the greatest first
    price_bands: dict[PriceBand, float]  # shares; empty where no price is known
    segment: str = ""  # by the definition of the bundle; empty: none, or the person is new
    bundle_version: Count = 0  # whose catalogue and segments these are; 0: none, and no shares


class ProfileResponse(msgspec.Struct, frozen=True, kw_only=True):
    owner: Identity
    version: Count  # as a sync's delta names it; 0: nobody has spoken for this owner yet
    consents: dict[Purpose, Consent]
    figures: ProfileFigures | None = None  # only where the person allows personalization
