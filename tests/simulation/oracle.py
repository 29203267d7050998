"""What the server must answer, by rules and plain dictionaries.

It sees requests as their devices meant them, in the order in which they were taken, and reckons by itself who is one
person, who allows what, and what every key is answered with. It shares with the server the words of the contracts and
none of its code; it is slow, simple, and never crashes.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from contracts.consent import ConsentFact, Purpose
from contracts.identity import DeviceRole
from contracts.sync import SeqRange, SyncRequest, VerdictKind
from tests.simulation.devices import Claim, Key, Made, Parcel, ranges

KEEPING = {Purpose.PERSONALIZATION, Purpose.ANALYTICS, Purpose.MODEL_TRAINING}
MINUTE_MS = 60_000
Life = tuple[str, int]  # device and epoch


@dataclass(frozen=True)
class Expected:
    """An answer, but for the profile."""

    verdicts: list[VerdictKind]
    epoch: int
    watermark: int
    gaps: list[SeqRange]


@dataclass(frozen=True)
class Taken:
    """An event that was accepted."""

    made: Made
    owner: str
    profiled: bool
    error_ms: int | None  # how much its time may be off, None where nobody can tell


@dataclass
class Oracle:
    roles: dict[str, DeviceRole] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)  # the newest one issued, by device
    proofs: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # devices, by owner
    person: dict[str, set[str]] = field(default_factory=dict)  # by owner, all owners of the same person
    decided: dict[str, dict[Purpose, tuple[int, bool]]] = field(default_factory=lambda: defaultdict(dict))
    facts: set[tuple[str, str]] = field(default_factory=set)
    answered: dict[Key, tuple[bytes, VerdictKind]] = field(default_factory=dict)
    judged: dict[Key, Made] = field(default_factory=dict)
    taken: dict[Key, Taken] = field(default_factory=dict)
    settled: dict[Life, set[int]] = field(default_factory=lambda: defaultdict(set))
    dropped: dict[Life, set[int]] = field(default_factory=lambda: defaultdict(set))

    def enrol(self, device_id: str, role: DeviceRole, epoch: int) -> None:
        assert epoch > self.epochs.get(device_id, 0), "an epoch was issued twice"
        self.roles[device_id], self.epochs[device_id] = role, epoch

    def take(self, group: Sequence[Parcel], now_ms: int) -> list[Expected | None]:
        """The answers to requests that share a transaction: links first, then consents, then events.

        None stands for a request that is refused as a whole.
        """
        heard = [self._speaks(parcel) for parcel in group]
        for parcel, fine in zip(group, heard, strict=True):
            if fine:
                named = [parcel.request.owner, *(one.made.owner for one in parcel.sent if one.key)]
                self._claim(parcel.request.device_id, [owner for owner in named if owner])
        found = [self._events(parcel, now_ms) if fine else None for parcel, fine in zip(group, heard, strict=True)]
        return [
            self._told(parcel.request, verdicts) if verdicts is not None else None
            for parcel, verdicts in zip(group, found, strict=True)
        ]

    def allowed(self, owner: str) -> set[Purpose]:
        """What the person of an owner allows: whatever one of their owners granted and none refuses."""
        votes: dict[Purpose, list[bool]] = defaultdict(list)
        for one in self.person[owner]:
            for purpose, (_, granted) in self.decided[one].items():
                votes[purpose].append(granted)
        return {purpose for purpose, cast in votes.items() if all(cast)}

    def _speaks(self, parcel: Parcel) -> bool:
        """Take the proofs and decisions of a request, all or nothing."""
        device_id = parcel.request.device_id
        proven = {owner for sub, also in parcel.claims for owner in (sub, *also)}
        for fact in parcel.request.consents:
            if fact.owner not in proven and not self._may_speak(device_id, fact.owner):
                return False
        for claim in parcel.claims:
            self._prove(device_id, claim)
        for fact in parcel.request.consents:
            self._claim(device_id, [fact.owner])
            self._decide(fact)
        return True

    def _prove(self, device_id: str, claim: Claim) -> None:
        sub, also = claim
        for owner in (sub, *also):
            self._know(owner)
            self.proofs[owner].add(device_id)
        joined = set().union(*(self.person[owner] for owner in (sub, *also)))
        for owner in joined:
            self.person[owner] = joined

    def _decide(self, fact: ConsentFact) -> None:
        if (fact.owner, fact.fact_id) in self.facts:
            return
        self.facts.add((fact.owner, fact.fact_id))
        version, _ = self.decided[fact.owner].get(fact.purpose, (0, False))
        if not fact.granted or fact.cites == version:
            self.decided[fact.owner][fact.purpose] = (version + 1, fact.granted)

    def _claim(self, device_id: str, owners: Iterable[str]) -> None:
        """Make owners known that a device may speak for; an anonymous session is whose uses it first."""
        for owner in owners:
            if self._may_speak(device_id, owner):
                self._know(owner)
                if owner.startswith("anonymous:"):
                    self.proofs[owner].add(device_id)

    def _know(self, owner: str) -> None:
        self.person.setdefault(owner, {owner})

    def _may_speak(self, device_id: str, owner: str) -> bool:
        kind = owner.partition(":")[0]
        if device_id in self.proofs[owner]:
            return True
        return (kind == "card" and self.roles[device_id] is DeviceRole.TILL) or (
            kind == "anonymous" and not self.proofs[owner]
        )

    def _events(self, parcel: Parcel, now_ms: int) -> list[VerdictKind]:
        request = parcel.request
        life = (request.device_id, request.epoch)
        for one in request.dropped:
            numbers = range(one.range.first, one.range.last + 1)
            self.dropped[life].update(numbers)
            self.settled[life].update(numbers)
        return [self._judge(parcel, place, now_ms) for place in range(len(parcel.sent))]

    def _judge(self, parcel: Parcel, place: int, now_ms: int) -> VerdictKind:
        request, sent = parcel.request, parcel.sent[place]
        if sent.key is None:
            return VerdictKind.QUARANTINED
        device_id, epoch, seq = sent.key
        if device_id != request.device_id or not 0 < epoch <= self.epochs[device_id]:
            return VerdictKind.REFUSED
        if sent.key in self.answered:
            payload, before = self.answered[sent.key]
            if payload != sent.raw:
                return VerdictKind.CONFLICT
            return VerdictKind.DUPLICATE if before is VerdictKind.ACCEPTED else before
        verdict = self._first_time(request, sent.made)
        self.answered[sent.key], self.judged[sent.key] = (sent.raw, verdict), sent.made
        self.settled[device_id, epoch].add(seq)
        if verdict is VerdictKind.ACCEPTED:
            self.taken[sent.key] = Taken(
                made=sent.made,
                owner=sent.made.owner,
                profiled=Purpose.PERSONALIZATION in self.allowed(sent.made.owner),
                error_ms=_error_ms(parcel, sent.made, now_ms),
            )
        return verdict

    def _first_time(self, request: SyncRequest, made: Made) -> VerdictKind:
        if made.flaw:
            return VerdictKind.QUARANTINED
        if not self._may_speak(request.device_id, made.owner) or not KEEPING & self.allowed(made.owner):
            return VerdictKind.REFUSED
        return VerdictKind.ACCEPTED

    def _told(self, request: SyncRequest, verdicts: list[VerdictKind]) -> Expected:
        epoch = request.epoch
        if VerdictKind.CONFLICT in verdicts:
            epoch = self.epochs[request.device_id] = self.epochs[request.device_id] + 1
        settled = self.settled[request.device_id, request.epoch]
        held = {seq for one in request.held for seq in range(one.first, one.last + 1)}
        watermark = -1
        while watermark + 1 in settled:
            watermark += 1
        there = settled | held
        gaps = ranges(set(range(max(there, default=-1) + 1)) - there)
        return Expected(verdicts, epoch, watermark, gaps)


def _error_ms(parcel: Parcel, made: Made, now_ms: int) -> int | None:
    """Half of the time that the last answer and this request were under way."""
    if made.boot != parcel.request.boot_id or parcel.answer_late_ms is None:
        return None
    round_trip_ms = parcel.answer_late_ms + now_ms - parcel.made_ms
    return round_trip_ms // 2 + 1 if round_trip_ms <= MINUTE_MS else None
