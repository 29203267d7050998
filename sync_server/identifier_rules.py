"""Which identifiers stand for somebody, and how many of them one person may have."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from contracts.identity import OwnerKind, owner_kind

_USUAL = """
0 -1 - na n/a nan nil none null undefined unknown guest anonymous default dummy test tester testuser demo example user
customer admin true false
"""
PLACEHOLDERS = frozenset(_USUAL.split())
"""What software sends where it knows nobody; compared without regard to case and outer blanks."""

SAME_CHARACTERS = 4  # from so many on, an identifier of one character alone is none: 0000, 999999999, xxxx
LIMITS = {OwnerKind.LOGIN: 5, OwnerKind.CARD: 10, OwnerKind.ANONYMOUS: 1_000}
"""Of one person. A family shares a card, a person changes logins; hundreds would be one identifier used by a crowd."""


@dataclass(frozen=True)
class IdentifierRules:
    """Placeholders and limits of a server.

    Attributes:
        placeholders: values, beside the usual ones, that stand for nobody.
        changed_limits: identifiers of a kind that a person may have, where they are not `LIMITS`.
    """

    placeholders: Mapping[OwnerKind, Collection[str]] = field(default_factory=dict)
    changed_limits: Mapping[OwnerKind, int] = field(default_factory=dict)

    @property
    def limits(self) -> dict[OwnerKind, int]:
        return {**LIMITS, **self.changed_limits}

    def objection(self, name: str) -> str:
        """Why an identifier stands for nobody, empty if it may stand for somebody.

        Raises:
            WireError: if it is no `kind:value`.
        """
        kind = owner_kind(name)
        value = _plain(name.partition(":")[2])
        same = len(value) >= SAME_CHARACTERS and len(set(value)) == 1
        listed = value in PLACEHOLDERS or value in map(_plain, self.placeholders.get(kind, ()))
        if same or listed or not value.strip("0"):
            return f"this {kind} is a placeholder, which many share: use an anonymous session where nobody is known"
        return ""


def _plain(value: str) -> str:
    return value.strip().casefold()
