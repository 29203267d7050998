"""What the server must answer, by rules and plain dictionaries.

It sees requests as their devices meant them, in the order in which they were taken, and reckons by itself who is one
person, who allows what, and what every key is answered with. It shares with the server the words of the contracts and
none of its code; it is slow, simple, and never crashes.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from contracts.consent import Purpose
from contracts.identity import DeviceRole
from contracts.sync import SeqRange, SyncRequest, VerdictKind
from tests.simulation.decisions import Decisions, Moment
from tests.simulation.devices import Claim, Key, Made, Parcel, ranges

KEEPING = {Purpose.PERSONALIZATION, Purpose.ANALYTICS, Purpose.MODEL_TRAINING}
MINUTE_MS = 60_000
Life = tuple[str, int]  # device and epoch


@dataclass(frozen=True)
class Expected:
    """An answer, but for the profile; of each event the verdicts that it may get."""

    verdicts: list[set[VerdictKind]]
    epoch: int
    watermark: int
    gaps: list[SeqRange]


@dataclass
class Judged:
    """What a key was answered with, once and for ever."""

    made: Made
    raw: bytes
    could: set[VerdictKind]  # one, or more while only the server knows which it chose
    profiled: set[bool]  # whether it may have entered the profile
    error_ms: int | None  # how much its time may be off, None where nobody can tell

    @property
    def accepted(self) -> bool:
        return self.could == {VerdictKind.ACCEPTED}

    @property
    def again(self) -> set[VerdictKind]:
        """What the same event gets when it comes again."""
        return {VerdictKind.DUPLICATE if kind is VerdictKind.ACCEPTED else kind for kind in self.could}


@dataclass
class Oracle:
    roles: dict[str, DeviceRole] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)  # the newest one issued, by device
    proofs: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # devices, by owner
    person: dict[str, set[str]] = field(default_factory=dict)  # by owner, all owners of the same person
    decisions: Decisions = field(default_factory=Decisions)
    judged: dict[Key, Judged] = field(default_factory=dict)
    settled: dict[Life, set[int]] = field(default_factory=lambda: defaultdict(set))
    dropped: dict[Life, set[int]] = field(default_factory=lambda: defaultdict(set))

    def enrol(self, device_id: str, role: DeviceRole, epoch: int) -> None:
        assert epoch > self.epochs.get(device_id, 0), "an epoch was issued twice"
        self.roles[device_id], self.epochs[device_id] = role, epoch

    def take(self, group: Sequence[Parcel], now_ms: int) -> list[Expected | None]:
        """The answers to requests that share a transaction: links first, then consents, then events.

        None stands for a request that is refused as a whole.
        """
        heard = [self._speaks(parcel, now_ms) for parcel in group]
        for parcel, fine in zip(group, heard, strict=True):
            if fine:
                named = [parcel.request.owner, *(one.made.owner for one in parcel.sent if one.key)]
                self._claim(parcel.request.device_id, [owner for owner in named if owner])
        found = [self._events(parcel, now_ms) if fine else None for parcel, fine in zip(group, heard, strict=True)]
        return [
            self._told(parcel.request, verdicts) if verdicts is not None else None
            for parcel, verdicts in zip(group, found, strict=True)
        ]

    def hear(self, parcel: Parcel, told: Sequence[VerdictKind]) -> None:
        """Learn what the server chose where nobody else could tell."""
        for sent, kind in zip(parcel.sent, told, strict=True):
            if sent.key and kind in (VerdictKind.ACCEPTED, VerdictKind.DUPLICATE, VerdictKind.REFUSED):
                one = self.judged.get(sent.key)
                if one and len(one.could) > 1:
                    one.could = {VerdictKind.REFUSED if kind is VerdictKind.REFUSED else VerdictKind.ACCEPTED}

    def allowed(self, owner: str) -> set[Purpose]:
        """What the person of an owner allows now."""
        return self.decisions.allowed(self.person[owner])

    def _speaks(self, parcel: Parcel, now_ms: int) -> bool:
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
            self.decisions.take(fact, _moment(parcel, fact.boot_id, fact.uptime_ms, now_ms))
        return True

    def _prove(self, device_id: str, claim: Claim) -> None:
        sub, also = claim
        for owner in (sub, *also):
            self._know(owner)
            self.proofs[owner].add(device_id)
        joined = set().union(*(self.person[owner] for owner in (sub, *also)))
        for owner in joined:
            self.person[owner] = joined

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

    def _events(self, parcel: Parcel, now_ms: int) -> list[set[VerdictKind]]:
        request = parcel.request
        life = (request.device_id, request.epoch)
        for one in request.dropped:
            numbers = range(one.range.first, one.range.last + 1)
            self.dropped[life].update(numbers)
            self.settled[life].update(numbers)
        return [self._judge(parcel, place, now_ms) for place in range(len(parcel.sent))]

    def _judge(self, parcel: Parcel, place: int, now_ms: int) -> set[VerdictKind]:
        request, sent = parcel.request, parcel.sent[place]
        if sent.key is None:
            return {VerdictKind.QUARANTINED}
        device_id, epoch, seq = sent.key
        if device_id != request.device_id or not 0 < epoch <= self.epochs[device_id]:
            return {VerdictKind.REFUSED}
        if sent.key in self.judged:
            before = self.judged[sent.key]
            return before.again if before.raw == sent.raw else {VerdictKind.CONFLICT}
        could, profiled = self._first_time(parcel, sent.made, now_ms)
        self.judged[sent.key] = Judged(sent.made, sent.raw, could, profiled, _error_ms(parcel, sent.made.boot, now_ms))
        self.settled[device_id, epoch].add(seq)
        return could

    def _first_time(self, parcel: Parcel, made: Made, now_ms: int) -> tuple[set[VerdictKind], set[bool]]:
        """The verdict, and whether the event enters the profile: what is allowed now, and was when it was made."""
        if made.flaw:
            return {VerdictKind.QUARANTINED}, {False}
        if not self._may_speak(parcel.request.device_id, made.owner):
            return {VerdictKind.REFUSED}, {False}
        person = self.person[made.owner]
        moment = _moment(parcel, made.boot, made.uptime_ms, now_ms)
        then, now = self.decisions.could_allow(person, moment), self.decisions.allowed(person)
        could = set()
        if any(True in then[purpose] for purpose in KEEPING & now):
            could.add(VerdictKind.ACCEPTED)
        if all(False in then[purpose] for purpose in KEEPING & now):
            could.add(VerdictKind.REFUSED)
        return could, then[Purpose.PERSONALIZATION] if Purpose.PERSONALIZATION in now else {False}

    def _told(self, request: SyncRequest, verdicts: list[set[VerdictKind]]) -> Expected:
        epoch = request.epoch
        if {VerdictKind.CONFLICT} in verdicts:
            epoch = self.epochs[request.device_id] = self.epochs[request.device_id] + 1
        settled = self.settled[request.device_id, request.epoch]
        held = {seq for one in request.held for seq in range(one.first, one.last + 1)}
        watermark = -1
        while watermark + 1 in settled:
            watermark += 1
        there = settled | held
        gaps = ranges(set(range(max(there, default=-1) + 1)) - there)
        return Expected(verdicts, epoch, watermark, gaps)


def _error_ms(parcel: Parcel, boot: str, now_ms: int) -> int | None:
    """Half of the time that the last answer and this request were under way."""
    if boot != parcel.request.boot_id or parcel.answer_late_ms is None:
        return None
    round_trip_ms = parcel.answer_late_ms + now_ms - parcel.made_ms
    return round_trip_ms // 2 + 1 if round_trip_ms <= MINUTE_MS else None


def _moment(parcel: Parcel, boot: str, uptime_ms: int, now_ms: int) -> Moment:
    """When something was made, as far as its request tells: within a boot, but for the time under way."""
    device_id = parcel.request.device_id
    if boot != parcel.request.boot_id:
        return Moment(-inf, inf, device_id, boot, uptime_ms)
    true_ms = parcel.made_ms - parcel.request.uptime_ms + uptime_ms
    under_way_ms = now_ms - parcel.made_ms + (parcel.answer_late_ms or 0)
    return Moment(true_ms - under_way_ms, true_ms + under_way_ms, device_id, boot, uptime_ms)
