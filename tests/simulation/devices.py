"""Phones and tills: what they create, number, keep, drop and send, and what they believe of the time.

The rules of the cache are those of the reference phone, in memory: numbers are given at creation, an event is kept
until the server's watermark has passed it, and only an event in conflict is numbered anew.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import msgspec

from contracts.codec import encode
from contracts.consent import Consent, ConsentFact, Purpose
from contracts.events import Event, EventType, Money
from contracts.identity import DeviceRole
from contracts.summary import Activity, OrderLine
from contracts.sync import SEND_ORDER, Dropped, Heard, ProfileDelta, SeqRange, SyncRequest, SyncResponse, VerdictKind

IMPORTANCE = {kind: place for place, kind in enumerate(SEND_ORDER)}

Claim = tuple[str, tuple[str, ...]]
"""What an identity token says: an owner, and further owners of the same person."""

Key = tuple[str, int, int]
"""Device id, epoch and seq, as an event says them."""


@dataclass(frozen=True)
class Made:
    """Something that happened, whatever number it bears."""

    uid: int
    type: EventType
    owner: str
    item: str
    quantity: int
    amount: int  # minor units of one piece
    order: str | None
    true_ms: int
    wall_ms: int
    boot: str
    uptime_ms: int
    flaw: str = ""  # what keeps the server from reading it: "unknown" or "poison"


@dataclass
class Held:
    """An event in a device's cache."""

    made: Made
    epoch: int
    seq: int
    settled: bool = False


@dataclass(frozen=True)
class Sent:
    """An event as a request carries it."""

    made: Made
    key: Key | None  # None where nobody can read it
    raw: bytes


@dataclass(frozen=True)
class Parcel:
    """A request, and what its device means by it."""

    number: int  # of the device
    attempt: int  # of this device
    request: SyncRequest
    sent: tuple[Sent, ...]
    claims: tuple[Claim, ...]
    made_ms: int  # the true time
    answer_late_ms: int | None  # how long the device's last answer in this boot was under way
    copied: bool  # whether there was a copy of the device by then


@dataclass(frozen=True)
class Profile:
    """A phone's copy of its owner's profile, kept by applying deltas."""

    owner: str = ""
    version: int = 0
    owners: tuple[str, ...] = ()
    items: dict[str, Activity] = field(default_factory=dict)
    orders: dict[str, dict[str, OrderLine]] = field(default_factory=dict)
    consents: dict[Purpose, Consent] = field(default_factory=dict)

    def apply(self, delta: ProfileDelta) -> "Profile":
        assert delta.base_version in (0, self.version), (
            f"a delta to version {delta.base_version}, the device holds {self.version}"
        )
        whole = not delta.base_version
        return Profile(
            owner=delta.owner,
            version=delta.version,
            owners=delta.owners,
            items=_changed({} if whole else self.items, delta.items),
            orders=_changed({} if whole else self.orders, delta.orders),
            consents=_changed({} if whole else self.consents, delta.consents),
        )


@dataclass
class Device:
    number: int
    device_id: str
    role: DeviceRole
    epoch: int
    generation: str
    format: str
    capacity: int  # events
    owner: str  # who uses it now
    boot: str
    booted_ms: int
    copied: bool = False  # whether there is or was another device with the same key and cache
    wall_error_ms: int = 0
    claims: tuple[Claim, ...] = ()  # tokens to be shown
    facts: tuple[ConsentFact, ...] = ()  # decisions to be told
    next_seq: dict[int, int] = field(default_factory=dict)
    events: list[Held] = field(default_factory=list)
    dropped: list[tuple[int, int, EventType]] = field(default_factory=list)  # epoch and seq
    profile: Profile = Profile()
    attempts: int = 0
    heard: Heard | None = None
    answer_late_ms: int | None = None
    waiting: Parcel | None = None  # the request whose answer would be believed

    def copy(self, number: int) -> "Device":
        """A clone, or a backup."""
        return replace(
            self,
            number=number,
            next_seq=dict(self.next_seq),
            events=[replace(one) for one in self.events],
            dropped=list(self.dropped),
            waiting=None,
        )

    def wall_ms(self, now_ms: int) -> int:
        return now_ms + self.wall_error_ms

    def create(self, made: Made) -> None:
        """Number an event and keep it; a full cache gives up what matters least, never silently."""
        self.events.append(Held(made, self.epoch, self._number(self.epoch)))
        excess = len(self.events) - self.capacity
        if excess > 0:
            self.events.sort(key=lambda one: (not one.settled, -IMPORTANCE[one.made.type], one.epoch, one.seq))
            gone, self.events = self.events[:excess], self.events[excess:]
            self.dropped += [(one.epoch, one.seq, one.made.type) for one in gone if not one.settled]

    def use_as(self, owner: str) -> None:
        """A change of owner wipes what was held of the previous one."""
        self.owner, self.profile = owner, Profile()

    def restart(self, number: int, now_ms: int) -> None:
        self.boot, self.booted_ms = f"boot-{number}", now_ms
        self.answer_late_ms = None

    @property
    def busy(self) -> bool:
        """Whether there is anything to tell the server."""
        return bool(self.dropped or self.facts or self.claims or any(not one.settled for one in self.events))

    def ask(self, now_ms: int, limit: int, tokens: tuple[str, ...], others: tuple[Sent, ...] = ()) -> Parcel:
        """The next request: of the oldest epoch that has something to say, the most important events first.

        Args:
            now_ms: the true time.
            limit: events to be sent at most.
            tokens: that prove the claims.
            others: what the device sends beside the events of its cache.
        """
        epochs = [one.epoch for one in self.events if not one.settled] + [epoch for epoch, *_ in self.dropped]
        epoch = min(epochs, default=self.epoch)
        mine = [one for one in self.events if one.epoch == epoch]
        chosen = sorted((one for one in mine if not one.settled), key=lambda one: (IMPORTANCE[one.made.type], one.seq))
        sent = tuple(self._sent(one) for one in chosen[:limit]) + others
        carried = {one.key for one in sent}
        held = (one.seq for one in mine if (self.device_id, epoch, one.seq) not in carried)
        request = SyncRequest(
            device_id=self.device_id,
            epoch=epoch,
            generation=self.generation,
            sent_at=self.wall_ms(now_ms),
            boot_id=self.boot,
            uptime_ms=now_ms - self.booted_ms,
            heard=self.heard,
            events=tuple(msgspec.Raw(one.raw) for one in sent),
            held=tuple(ranges(held)),
            dropped=tuple(self._dropped(epoch)),
            owner=self.owner or None,
            identity_tokens=tokens,
            consents=self.facts,
            profile_version=self.profile.version,
        )
        self.attempts += 1
        self.waiting = Parcel(
            self.number, self.attempts, request, sent, self.claims, now_ms, self.answer_late_ms, self.copied
        )
        return self.waiting

    def hear(self, parcel: Parcel, answer: SyncResponse, now_ms: int) -> set[int]:
        """Take an answer that is waited for; returns the uids of what is given up with an erased owner."""
        if self.waiting is not parcel:
            return set()
        self.waiting = None
        self.heard = Heard(server_time=answer.server_time, boot_id=self.boot, uptime_ms=now_ms - self.booted_ms)
        self.answer_late_ms = now_ms - answer.server_time
        request = parcel.request
        if answer.generation != self.generation:  # a restored store may lack what the other one settled
            self.generation = answer.generation
            for one in self.events:
                one.settled = False
        self.epoch = max(self.epoch, answer.epoch)
        mine = {(self.device_id, one.epoch, one.seq): one for one in self.events}
        for verdict in answer.verdicts:
            key = parcel.sent[verdict.position].key
            if key is None or key not in mine:  # unreadable, or given up since
                continue
            if verdict.kind is VerdictKind.CONFLICT:
                mine[key].epoch, mine[key].seq = answer.epoch, self._number(answer.epoch)
            else:
                mine[key].settled = True
        self.events = [
            one
            for one in self.events
            if not (one.settled and one.epoch == request.epoch and one.seq <= answer.watermark)
        ]
        reported = {seq for one in request.dropped for seq in range(one.range.first, one.range.last + 1)}
        self.dropped = [one for one in self.dropped if one[0] != request.epoch or one[1] not in reported]
        if answer.profile is not None and answer.profile.erased:
            return self._forget(request)
        told = {fact.fact_id for fact in request.consents}
        self.facts = tuple(fact for fact in self.facts if fact.fact_id not in told)
        self.claims = tuple(claim for claim in self.claims if claim not in parcel.claims)
        asked = request.owner == self.owner and request.profile_version == self.profile.version  # no other user since
        if answer.profile is not None and asked:
            self.profile = self.profile.apply(answer.profile)
        return set()

    def be_refused(self, parcel: Parcel) -> None:
        """Take that a request was refused: whoever has decided something proves themselves again."""
        if self.waiting is parcel:
            self.waiting = None
            shown = {sub for sub, _ in self.claims}
            deciding = {fact.owner for fact in self.facts if fact.owner.startswith("login:")}
            self.claims += tuple((owner, ()) for owner in sorted(deciding - shown))

    def message(self, made: Made, epoch: int, seq: int, device_id: str = "") -> bytes:
        """An event as it travels, as this device's own unless another is named."""
        event = Event(
            device_id=device_id or self.device_id,
            epoch=epoch,
            seq=seq,
            type=made.type,
            owner=made.owner,
            occurred_at=made.wall_ms,
            boot_id=made.boot,
            uptime_ms=made.uptime_ms,
            item_id=made.item,
            quantity=made.quantity,
            price=Money(made.amount, "EUR"),
            order_id=made.order,
            context={"uid": str(made.uid)},
        )
        if not made.flaw:
            return encode(event, self.format)
        flawed = {"type": "teleported"} if made.flaw == "unknown" else {"quantity": 0}
        return encode({**msgspec.to_builtins(event), **flawed}, self.format)

    def _forget(self, request: SyncRequest) -> set[int]:
        """The owner of a request was erased: nothing of theirs stays here, and nothing of it was listened to."""
        mine = [one for one in self.events if one.made.owner == request.owner and not one.settled]
        self.dropped += [(one.epoch, one.seq, one.made.type) for one in mine]
        self.events = [one for one in self.events if one not in mine]
        self.facts = tuple(fact for fact in self.facts if fact.owner != request.owner)
        if self.owner == request.owner:
            self.use_as(f"anonymous:{self.number}-after-{self.attempts}")
        return {one.made.uid for one in mine}

    def _sent(self, one: Held) -> Sent:
        return Sent(one.made, (self.device_id, one.epoch, one.seq), self.message(one.made, one.epoch, one.seq))

    def _number(self, epoch: int) -> int:
        seq = self.next_seq.get(epoch, 0)
        self.next_seq[epoch] = seq + 1
        return seq

    def _dropped(self, epoch: int) -> Iterable[Dropped]:
        kinds = {seq: kind for one, seq, kind in self.dropped if one == epoch}
        for found in ranges(kinds):
            counts = Counter(kinds[seq] for seq in range(found.first, found.last + 1))
            yield Dropped(range=found, counts=dict(counts))


def ranges(numbers: Iterable[int]) -> list[SeqRange]:
    """Numbers as ranges without a gap inside."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [SeqRange(first, last) for first, last in found]


def _changed(held: dict, changes: dict) -> dict:
    """None removes."""
    return {key: value for key, value in {**held, **changes}.items() if value is not None}
