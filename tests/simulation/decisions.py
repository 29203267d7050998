"""Who allowed what when, as it truly was.

An event may serve what its person allows when it is received, and allowed when it was made. The simulation knows the
true times; the server can know them only so far. So to what was allowed at a moment there are three answers here: yes,
no, and nobody can tell, where a decision and the moment lie closer together than clocks and answers on their way tell
apart. Then the server may say either, but must stay with it.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from contracts.consent import ConsentFact, Purpose

Vote = bool | None
"""Granted, refused, or not decided."""


@dataclass(frozen=True)
class Moment:
    """When something was made, as far as a server can find out."""

    first_ms: float  # true time, not before
    last_ms: float  # nor after
    device_id: str
    boot: str
    uptime_ms: int  # orders exactly what was made within one boot

    def by(self, other: "Moment") -> bool | None:
        """Whether this was made before another moment, or at it; None where nobody can tell."""
        if (self.device_id, self.boot) == (other.device_id, other.boot):
            return self.uptime_ms <= other.uptime_ms
        if self.last_ms <= other.first_ms:
            return True
        return False if self.first_ms > other.last_ms else None


@dataclass(frozen=True)
class Decision:
    """One that counted."""

    version: int
    granted: bool
    made: Moment


@dataclass
class Decisions:
    """Of all owners."""

    counted: dict[str, dict[Purpose, list[Decision]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    known: set[tuple[str, str]] = field(default_factory=set)

    def take(self, fact: ConsentFact, made: Moment) -> None:
        """A fact counts once; an opt-in only if it cites what stands."""
        if (fact.owner, fact.fact_id) in self.known:
            return
        self.known.add((fact.owner, fact.fact_id))
        before = self.counted[fact.owner][fact.purpose]
        if fact.granted and fact.cites != len(before):
            return
        if fact.granted and before:  # whoever saw what stood came later, whatever the clocks say
            latest = max(made.last_ms, max(one.made.last_ms for one in before))
            made = Moment(made.first_ms, latest, made.device_id, made.boot, made.uptime_ms)
        before.append(Decision(len(before) + 1, fact.granted, made))

    def forget(self, owners: Collection[str]) -> None:
        for owner in owners:
            self.counted.pop(owner, None)
        self.known = {one for one in self.known if one[0] not in owners}

    def standing(self, owner: str) -> dict[Purpose, tuple[int, bool]]:
        """The version that stands, and what it says."""
        return {purpose: (len(some), some[-1].granted) for purpose, some in self.counted[owner].items() if some}

    def allowed(self, owners: Collection[str]) -> set[Purpose]:
        """What a person of these owners allows now: what one of them granted and none refuses."""
        return {purpose for purpose in Purpose if _all_grant([self._now(owner, purpose) for owner in owners])}

    def could_allow(self, owners: Collection[str], moment: Moment) -> dict[Purpose, set[bool]]:
        """What the same person may be said to have allowed at a moment."""
        return {purpose: _outcomes([self._then(owner, purpose, moment) for owner in owners]) for purpose in Purpose}

    def _now(self, owner: str, purpose: Purpose) -> Vote:
        some = self.counted[owner][purpose]
        return some[-1].granted if some else None

    def _then(self, owner: str, purpose: Purpose, moment: Moment) -> set[Vote]:
        """What may have stood: the highest version among those made by then."""
        votes: set[Vote] = set()
        for one in reversed(self.counted[owner][purpose]):
            made = one.made.by(moment)
            if made is not False:
                votes.add(one.granted)
            if made:
                return votes
        return votes | {None}


def _all_grant(votes: Collection[Vote]) -> bool:
    return True in votes and False not in votes


def _outcomes(possible: list[set[Vote]]) -> set[bool]:
    """Of all ways to choose one of each owner's possible votes."""
    outcomes = set()
    if any(True in votes for votes in possible) and all(votes & {True, None} for votes in possible):
        outcomes.add(True)
    if any(False in votes for votes in possible) or all(None in votes for votes in possible):
        outcomes.add(False)
    return outcomes
