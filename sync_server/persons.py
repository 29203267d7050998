"""Which owners are one person: a pure function of the links between them, so that any order of links gives the same.

Links are taken in a fixed order, those between the surest identifiers first (`OwnerKind`, then ids), and one that would
join two owners whom a separation keeps apart is passed over. A person is named by the smallest id of its owners.

Source: union-find after Tarjan 1975, with constraints as two bit sets per set.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from contracts.identity import OwnerKind

Sides = tuple[Collection[int], Collection[int]]
"""Owners of whom nobody on the one side is the same person as anybody on the other."""

PRIORITY = {kind: place for place, kind in enumerate(OwnerKind)}


def resolve(
    kinds: Mapping[int, OwnerKind], links: Iterable[tuple[int, int]], apart: Sequence[Sides] = ()
) -> dict[int, int]:
    """The person of every owner.

    Args:
        kinds: of all owners, by id.
        links: between two of them each.
        apart: separations that are in force.
    """
    parents = {owner: owner for owner in kinds}
    sides: tuple[dict[int, int], dict[int, int]] = (dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0))
    for bit, separation in enumerate(apart):
        for side, members in zip(sides, separation, strict=True):
            for owner in members:
                if owner in side:
                    side[owner] |= 1 << bit

    def root(owner: int) -> int:
        while parents[owner] != owner:
            parents[owner] = owner = parents[parents[owner]]
        return owner

    def rank(link: tuple[int, int]) -> tuple[list[int], list[int]]:
        return sorted(PRIORITY[kinds[owner]] for owner in link), sorted(link)

    one, other = sides
    for link in sorted(links, key=rank):
        kept, gone = sorted(map(root, link))
        if kept != gone and not (one[kept] & other[gone] or other[kept] & one[gone]):
            parents[gone] = kept
            one[kept] |= one[gone]
            other[kept] |= other[gone]
    return {owner: root(owner) for owner in kinds}
