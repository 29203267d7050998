"""What a person allowed, per purpose. No fact means no."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from contracts.events import Count, Identity


class Purpose(StrEnum):
    PERSONALIZATION = "personalization"
    ANALYTICS = "analytics"
    MODEL_TRAINING = "model_training"
    FEDERATED_TRAINING = "federated_training"


class ConsentFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A decision of an owner, made while looking at version `cites` of their consent.

    Its raw clocks are those of an event: they tell since when it holds. A fact without them holds since it arrives.
    """

    fact_id: Identity  # unique per decision: a resent fact changes nothing
    owner: Identity
    purpose: Purpose
    granted: bool
    cites: Count  # the consent version the person saw; 0 before the first decision
    decided_at: Annotated[int, Meta(ge=-(2**53), le=2**53)] | None = None  # milliseconds since 1970, the wall clock
    boot_id: Annotated[str, Meta(max_length=64, pattern="^[^\\x00]*$")] = ""
    uptime_ms: Count = 0  # monotonic since boot


class Consent(msgspec.Struct, frozen=True, kw_only=True):
    """The standing decision for one purpose."""

    version: Count = 0
    granted: bool = False


def decide(standing: Consent, fact: ConsentFact) -> Consent:
    """The standing decision after a fact arrived.

    An opt-out always counts. An opt-in counts only if it cites the standing version, so that of two concurrent
    decisions the opt-out wins and an old phone cannot undo a newer one.
    """
    if not fact.granted:
        return Consent(version=standing.version + 1, granted=False)
    if fact.cites == standing.version:
        return Consent(version=standing.version + 1, granted=True)
    return standing
