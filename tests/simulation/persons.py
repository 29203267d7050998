"""Who is one person, by rules and plain sets: what links owners, and what keeps them apart."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from contracts.identity import OwnerKind, owner_kind

SUREST_FIRST = list(OwnerKind)
Age = Callable[[str], int]
"""Orders owners by when they first appeared; of those that appeared together only the server knows."""


@dataclass
class Persons:
    of: dict[str, set[str]] = field(default_factory=dict)  # by owner, all owners of the same person
    links: set[tuple[str, str]] = field(default_factory=set)
    apart: dict[int, tuple[set[str], set[str]]] = field(default_factory=dict)  # separations in force, by number

    def know(self, owner: str) -> None:
        self.of.setdefault(owner, {owner})

    def link(self, one: str, other: str, age: Age) -> None:
        """Take evidence; what is known already changes nothing."""
        if one != other and (one, other) not in self.links and (other, one) not in self.links:
            self.links.add((one, other))
            self._settle({one, other}, age)

    def separate(self, number: int, one_side: Collection[str], other_side: Collection[str], age: Age) -> None:
        self.apart[number] = (set(one_side), set(other_side))
        self._settle({*one_side, *other_side}, age)

    def lift(self, number: int, age: Age) -> None:
        one_side, other_side = self.apart.pop(number)
        self._settle(one_side | other_side, age)

    def forget(self, owners: Collection[str]) -> None:
        """Whole persons are erased, so nobody else becomes another one by it."""
        for owner in owners:
            del self.of[owner]
        self.links = {link for link in self.links if not set(link) & set(owners)}
        for sides in self.apart.values():
            for side in sides:
                side -= set(owners)

    def _settle(self, owners: set[str], age: Age) -> None:
        """Join by all links anew: the surest identifiers first, passing over what would join separated ones."""
        reached = set(owners)
        while more := {owner for link in self.links if reached & set(link) for owner in link} - reached:
            reached |= more
        links = [link for link in self.links if reached & set(link)]
        if any(reached & one and reached & other for one, other in self.apart.values()):
            links.sort(key=lambda link: (sorted(map(_sureness, link)), sorted(map(age, link))))
        self.of |= {owner: {owner} for owner in reached}
        for one, other in links:
            joined = self.of[one] | self.of[other]
            if not any(joined & one_side and joined & other_side for one_side, other_side in self.apart.values()):
                self.of |= dict.fromkeys(joined, joined)


def _sureness(owner: str) -> int:
    return SUREST_FIRST.index(owner_kind(owner))
