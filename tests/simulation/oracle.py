"""What the server must answer, by rules and plain dictionaries.

It sees requests as their devices meant them, in the order in which they were taken, and reckons by itself who is one
person, who allows what, and what every key is answered with. It shares with the server the words of the contracts and
none of its code; it is slow, simple, and never crashes.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Protocol

from contracts.consent import ConsentFact, Purpose
from contracts.identity import DeviceRole
from contracts.sync import SeqRange, SyncRequest, VerdictKind
from tests.simulation.decisions import Decisions, Moment
from tests.simulation.devices import Claim, Key, Made, Parcel, ranges
from tests.simulation.persons import Persons

KEEPING = {Purpose.PERSONALIZATION, Purpose.ANALYTICS, Purpose.MODEL_TRAINING}
MINUTE_MS = 60_000
Life = tuple[str, int]  # device and epoch


class Witness(Protocol):
    """Tells what the rules leave open, by what the server's store holds once it has taken something."""

    def holds(self, fact_id: str) -> bool:
        """Whether a decision is in the store."""

    def synced_at(self, device_id: str) -> int:
        """When a request of a device was taken last."""

    def age(self, owner: str) -> int:
        """Orders owners by when they appeared."""


@dataclass(frozen=True)
class Expected:
    """An answer, but for the profile; of each event the verdicts that it may get."""

    verdicts: list[set[VerdictKind]]
    epoch: int
    watermark: int
    gaps: list[SeqRange]
    forgets: bool = False  # whether the device is told that the owner was erased


@dataclass
class Judged:
    """What a key was answered with, once and for ever, unless its owner is erased."""

    made: Made
    raw: bytes | None  # None once it is erased: no event is like it
    could: set[VerdictKind]  # one, or more while only the server knows which it chose
    profiled: set[bool]  # whether it may have entered the profile
    error_ms: int | None  # how much its time may be off, None where nobody can tell
    owned: bool  # whether the device could speak for its owner

    @property
    def again(self) -> set[VerdictKind]:
        """What the same event gets when it comes again."""
        return {VerdictKind.DUPLICATE if kind is VerdictKind.ACCEPTED else kind for kind in self.could}


@dataclass
class Oracle:
    roles: dict[str, DeviceRole] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)  # the newest one issued, by device
    enrolled_ms: dict[str, int] = field(default_factory=dict)
    proofs: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # devices, by owner
    persons: Persons = field(default_factory=Persons)
    decisions: Decisions = field(default_factory=Decisions)
    judged: dict[Key, Judged] = field(default_factory=dict)
    settled: dict[Life, set[int]] = field(default_factory=lambda: defaultdict(set))
    dropped: dict[Life, set[int]] = field(default_factory=lambda: defaultdict(set))
    using: dict[str, str] = field(default_factory=dict)  # the current owner, by device
    synced_ms: dict[str, int] = field(default_factory=dict)  # the last time, by device
    outdated: set[str] = field(default_factory=set)  # devices whose owner was erased, and which may not know it
    erased_ms: dict[str, int] = field(default_factory=dict)  # the last time, by owner
    decided_ms: dict[str, int] = field(default_factory=dict)  # the true time, by decision

    def enrol(self, device_id: str, role: DeviceRole, epoch: int, now_ms: int) -> None:
        assert epoch > self.epochs.get(device_id, 0), "an epoch was issued twice"
        self.roles[device_id], self.epochs[device_id] = role, epoch
        self.enrolled_ms.setdefault(device_id, now_ms)

    def take(self, group: Sequence[Parcel], now_ms: int, witness: Witness) -> list[Expected | None]:
        """The answers to requests that share a transaction: links first, then consents, then events.

        Args:
            group: as it was taken.
            now_ms: when.
            witness: of what the rules leave open.

        Returns:
            None for a request that is refused as a whole.
        """
        heard = [self._speaks(parcel, now_ms, witness) for parcel in group]
        taken = [parcel for parcel, fine in zip(group, heard, strict=True) if fine]
        for parcel in taken:
            named = [parcel.request.owner, *(one.made.owner for one in parcel.sent if one.key)]
            self._claim(parcel.request.device_id, [owner for owner in named if owner])
        told = iter([self._told(parcel.request, self._events(parcel, now_ms)) for parcel in taken])
        for parcel in taken:
            self._note(parcel.request, now_ms)
        return [next(told) if fine else None for fine in heard]

    def hear(self, parcel: Parcel, told: Sequence[VerdictKind]) -> None:
        """Learn what the server chose where nobody else could tell."""
        for sent, kind in zip(parcel.sent, told, strict=True):
            own = sent.key is not None and sent.key[0] == parcel.request.device_id
            if own and kind in (VerdictKind.ACCEPTED, VerdictKind.DUPLICATE, VerdictKind.REFUSED):
                one = self.judged.get(sent.key)
                if one and len(one.could) > 1:
                    one.could = {VerdictKind.REFUSED if kind is VerdictKind.REFUSED else VerdictKind.ACCEPTED}

    def erase(self, owner: str, now_ms: int) -> None:
        """Forget a person; what they made up to now is barred, under every key."""
        gone = self.persons.of[owner]
        self.persons.forget(gone)
        self.decisions.forget(gone)
        for one in gone:
            self.proofs.pop(one, None)
            self.erased_ms[one] = now_ms
        for judged in self.judged.values():
            if judged.owned and judged.made.owner in gone:
                judged.raw, judged.could, judged.profiled = None, {VerdictKind.REFUSED}, {False}
        outdated = {device_id for device_id, user in self.using.items() if user in gone}
        self.using = {device_id: user for device_id, user in self.using.items() if user not in gone}
        self.outdated |= outdated

    def allowed(self, owner: str) -> set[Purpose]:
        """What the person of an owner allows now."""
        return self.decisions.allowed(self.persons.of[owner])

    def _speaks(self, parcel: Parcel, now_ms: int, witness: Witness) -> bool:
        """Take the proofs and decisions of a request, all or nothing."""
        request, device_id = parcel.request, parcel.request.device_id
        if device_id in self.outdated and request.owner and request.profile_version:
            return True  # it is told to forget, and nobody is spoken for by it
        proven = {owner for sub, also in parcel.claims for owner in (sub, *also)}
        informed = self.outdated - {device_id}
        for fact in request.consents:
            known = fact.owner in proven or self._may_speak(device_id, fact.owner, informed)
            if not known and not self._of_before(fact, parcel, now_ms, witness):
                return False
        self.outdated = informed
        for claim in parcel.claims:
            self._prove(device_id, claim, witness)
        for fact in request.consents:
            self._claim(device_id, [fact.owner])
            if self._may_speak(device_id, fact.owner, self.outdated):
                barred = self._barred(fact.owner, self.decided_ms[fact.fact_id], parcel, fact.boot_id, now_ms)
                if barred == {False} or (barred != {True} and witness.holds(fact.fact_id)):
                    self.decisions.take(fact, _moment(parcel, fact.boot_id, fact.uptime_ms, now_ms))
        return True

    def _of_before(self, fact: ConsentFact, parcel: Parcel, now_ms: int, witness: Witness) -> bool:
        """Whether a decision of an owner who is not proven is passed over: the proof may have gone in an erasure."""
        device_id, erased_ms = parcel.request.device_id, self.erased_ms.get(fact.owner)
        if erased_ms is None:
            return False
        error_ms = _error_ms(parcel, fact.boot_id, now_ms)
        if self.synced_ms.get(device_id, 0) <= erased_ms or error_ms is None:
            return True
        late_ms = self.decided_ms[fact.fact_id] - erased_ms
        return late_ms <= -error_ms or (late_ms <= error_ms and witness.synced_at(device_id) == now_ms)

    def _prove(self, device_id: str, claim: Claim, witness: Witness) -> None:
        sub, also = claim
        for owner in (sub, *also):
            self.persons.know(owner)
            self.proofs[owner].add(device_id)
        for owner in also:
            self.persons.link(sub, owner, witness.age)

    def _claim(self, device_id: str, owners: Iterable[str]) -> None:
        """Make owners known that a device may speak for; an anonymous session is whose uses it first."""
        for owner in owners:
            if self._may_speak(device_id, owner, self.outdated):
                self.persons.know(owner)
                if owner.startswith("anonymous:"):
                    self.proofs[owner].add(device_id)

    def _may_speak(self, device_id: str, owner: str, outdated: Collection[str]) -> bool:
        kind = owner.partition(":")[0]
        if device_id in self.proofs[owner]:
            return True
        return (kind == "card" and self.roles[device_id] is DeviceRole.TILL) or (
            kind == "anonymous" and not self.proofs[owner] and device_id not in outdated
        )

    def _barred(self, owner: str, true_ms: int, parcel: Parcel, boot: str, now_ms: int) -> set[bool]:
        """Whether something was made before its owner was erased, as far as anybody can tell.

        What may have been is barred. Of copies of one device nobody knows which of them made what, and when.
        """
        erased_ms = self.erased_ms.get(owner)
        if erased_ms is None:
            return {False}
        error_ms = _error_ms(parcel, boot, now_ms)
        if error_ms is None:
            return {True} if true_ms <= erased_ms and not parcel.copied else {True, False}
        if true_ms + error_ms <= erased_ms:
            return {True}
        return {False} if true_ms - error_ms > erased_ms else {True, False}

    def _note(self, request: SyncRequest, now_ms: int) -> None:
        """Who uses a device since when, as its server knows."""
        device_id, owner = request.device_id, request.owner
        self.synced_ms[device_id] = now_ms
        self.using.pop(device_id, None)
        phone = self.roles[device_id] is DeviceRole.PHONE
        if phone and owner and device_id not in self.outdated and self._may_speak(device_id, owner, self.outdated):
            self.using[device_id] = owner

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
        error_ms = _error_ms(parcel, sent.made.boot, now_ms)
        owned = self._may_speak(device_id, sent.made.owner, self.outdated)
        self.judged[sent.key] = Judged(sent.made, sent.raw, could, profiled, error_ms, owned)
        self.settled[device_id, epoch].add(seq)
        return could

    def _first_time(self, parcel: Parcel, made: Made, now_ms: int) -> tuple[set[VerdictKind], set[bool]]:
        """The verdict, and whether the event enters the profile: what is allowed now, and was when it was made."""
        if made.flaw:
            return {VerdictKind.QUARANTINED}, {False}
        if not self._may_speak(parcel.request.device_id, made.owner, self.outdated):
            return {VerdictKind.REFUSED}, {False}
        barred = self._barred(made.owner, made.true_ms, parcel, made.boot, now_ms)
        if barred == {True}:
            return {VerdictKind.REFUSED}, {False}
        person = self.persons.of[made.owner]
        moment = _moment(parcel, made.boot, made.uptime_ms, now_ms)
        wide = self._doubted(parcel, moment)
        doubted = self.decisions.could_allow(person, wide)
        exact = _believed(parcel, made, moment, now_ms)
        believed = self.decisions.could_allow(person, exact) if exact is not wide else doubted
        now = self.decisions.allowed(person)
        could = set()
        if any(True in believed[purpose] for purpose in KEEPING & now):
            could.add(VerdictKind.ACCEPTED)
        if True in barred or all(False in doubted[purpose] for purpose in KEEPING & now):
            could.add(VerdictKind.REFUSED)
        if Purpose.PERSONALIZATION not in now:
            return could, {False}
        return could, {True} & believed[Purpose.PERSONALIZATION] | {False} & doubted[Purpose.PERSONALIZATION]

    def _doubted(self, parcel: Parcel, moment: Moment) -> Moment:
        """When something may have been made: before any answer was heard in a boot, as its wall clock has it, too.

        Unless that says that the request itself was made when none could be.
        """
        request, answered_ms = parcel.request, parcel.request.heard.server_time if parcel.request.heard else 0
        possible = request.sent_at >= max(self.enrolled_ms[request.device_id], answered_ms)
        if parcel.answer_late_ms is not None or not possible:
            return moment
        return replace(moment, first_ms=min(moment.first_ms, moment.first_ms + request.sent_at - parcel.made_ms))

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
        return Expected(verdicts, epoch, watermark, gaps, self._forgets(request))

    def _forgets(self, request: SyncRequest) -> bool:
        """Whether a device must be told that whose profile it holds was erased."""
        if request.device_id in self.outdated:
            return True
        owner = request.owner if self.roles[request.device_id] is DeviceRole.PHONE else None
        unproven = owner is not None and not self._may_speak(request.device_id, owner, self.outdated)
        return unproven and owner in self.erased_ms and request.profile_version > 0


def _believed(parcel: Parcel, made: Made, moment: Moment, now_ms: int) -> Moment:
    """When something was made for which consent must have been given: where clocks leave doubt, the true time too.

    What the true time is, tell a wall clock that was never wrong, and answers heard in the same boot.
    """
    right = made.wall_ms == made.true_ms and parcel.request.sent_at == parcel.made_ms and not parcel.copied
    heard = made.boot == parcel.request.boot_id and parcel.answer_late_ms is not None
    if _error_ms(parcel, made.boot, now_ms) is not None or not (right or heard):
        return moment
    return replace(moment, first_ms=made.true_ms, last_ms=made.true_ms)


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
