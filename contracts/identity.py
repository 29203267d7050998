"""Who an event belongs to: owners.

An owner is written `kind:value`: `login:4f1c...`, `card:9a20...`, `anonymous:<session>`. A device owns nothing.
"""

from enum import StrEnum

from contracts.errors import WireError


class OwnerKind(StrEnum):
    LOGIN = "login"
    CARD = "card"
    ANONYMOUS = "anonymous"


_KINDS = {str(kind): kind for kind in OwnerKind}  # asked for every event: an enum's own look-up is slow


class DeviceRole(StrEnum):
    """What an enrolled device may do: a phone speaks for proven owners only, a till for any card it reads."""

    PHONE = "phone"
    TILL = "till"


def owner_kind(owner: str) -> OwnerKind:
    """The kind of an owner.

    Raises:
        WireError: if the owner is not `kind:value` with a known kind and a value.
    """
    kind, _, value = owner.partition(":")
    if not value or kind not in _KINDS:
        # Not what was given: it may be a person's identifier, and this reason is kept.
        raise WireError(f"the owner is not kind:value with kind one of {', '.join(OwnerKind)}")
    return _KINDS[kind]
