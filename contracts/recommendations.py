"""What a till, a web shop or a kiosk asks: `POST /v1/recommendations`, signed as every request of a device.

It is answered from the bundle that phones hold, with the same code and the person's profile over all channels, so that
every channel shows the same. Where that may not be or cannot be, the answer is what is popular, and says why.
"""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from contracts.bundle import DeviceClass
from contracts.events import Count, Identity

MAX_RECOMMENDATIONS = 100
MAX_EXCLUDED = 1000
MAX_TOKENS = 8


class RecommendationRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    owner: Identity | None = None  # for whom; None: for somebody unknown
    identity_tokens: Annotated[tuple[str, ...], Meta(max_length=MAX_TOKENS)] = ()  # proofs, see contracts.identity
    count: Annotated[int, Meta(ge=1, le=MAX_RECOMMENDATIONS)] = 10
    wish: Literal["anything", "new"] = "anything"  # new: nothing that the person's history holds
    exclude: Annotated[tuple[Identity, ...], Meta(max_length=MAX_EXCLUDED)] = ()  # items not to be shown
    device_class: DeviceClass = "phone"  # as which the model is asked: left as it is, all channels show the same


class Fallback(StrEnum):
    """Why an answer is not the model's."""

    NO_OWNER = "no_owner"  # none was named
    NO_PROOF = "no_proof"  # the device may not be told about this owner
    NO_CONSENT = "no_consent"  # the person does not allow personalization
    NO_HISTORY = "no_history"  # of items that the bundle knows
    NO_MODEL = "no_model"  # no bundle is published, or none works


class RecommendationResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    items: tuple[Identity, ...]  # best first; fewer than asked for where the bundle has no more candidates
    scores: tuple[float, ...] = ()  # of the model
    source: Literal["model", "popularity"]
    fallback: Fallback | None = None  # with "popularity"
    segment: str = ""  # whose popularity, or what the model was told; empty: everyone
    bundle_version: Count = 0
    profile_version: Count = 0
