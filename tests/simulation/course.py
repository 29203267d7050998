"""One run: who does what when, what the network does to it, and when the server dies.

First some days full of faults, then a quiet time in which everything that waits gets through, then the reckoning.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from operator import contains
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contracts.codec import encode
from contracts.consent import ConsentFact, Purpose
from contracts.errors import InputError
from contracts.events import EventType
from contracts.identity import DeviceRole
from tests.simulation import ledger, rights
from tests.simulation.devices import Claim, Device, Made, Parcel, Sent
from tests.simulation.disk import Crash, Disk, Moment, Plan
from tests.simulation.oracle import Expected, Oracle
from tests.simulation.server import WORKERS, Letter, Server, SetClock, Witness, letter, read_answer, token

START_MS = 1_700_000_000_000
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
PHONES, TILLS = 94, 10
PEOPLE = 48  # who have a login; most have a card, some a second phone, and the last share tablets
TABLETS = 8
CHANGES = "SELECT changes FROM store"
ROUNDS = 11
MANY = 128  # requests of a transaction, when nothing is to happen between two
ITEMS = tuple(f"item-{number}" for number in range(12))
ORDERS_OF_A_PERSON = 2
TYPES = (*EventType, EventType.PURCHASE, EventType.PURCHASE, EventType.VIEW, EventType.VIEW)
WRONG_CLOCKS_MS = (-START_MS, 2**31 * 1000 - START_MS, -DAY_MS, 3 * HOUR_MS, 0)  # 1970, 2038, ..., right again


@dataclass(frozen=True)
class Beginning:
    """A store and its devices after a first, peaceful day; made once for many runs."""

    folder: Path  # with the store's files
    devices: Sequence[Device]
    oracle: Oracle

    @staticmethod
    def make(folder: Path) -> "Beginning":
        """Enrol all devices; most people log in, and most of those who use them allow something."""
        content = folder / "content"
        content.mkdir()
        day = Course(0, Beginning(content, (), Oracle()), folder)
        day.clock.time_ms -= DAY_MS
        with day.disk:
            for number in range(PHONES + TILLS):
                day.enrol(number)
            day.quiet()
            day.server.stop()
        return Beginning(day.disk.life, day.devices, day.oracle)


@dataclass
class Flight:
    """A request under way."""

    parcel: Parcel
    letter: Letter
    rounds: int  # until it arrives
    whole: bool = True
    believed: bool = True  # whether it proves what it claims


class Course:
    def __init__(self, seed: int, beginning: Beginning, folder: Path, say: Callable[[str], None] | None = None) -> None:
        """
        Args:
            seed: decides everything.
            beginning: of the store.
            folder: an empty one, for the store's files.
            say: takes each line of the trace.
        """
        self.chance = random.Random(seed)
        self.clock = SetClock(START_MS)
        self.disk = Disk(folder, beginning.folder, self.chance)
        self.server = Server(self.disk, self.clock)
        self.witness = Witness(self.server)
        self.oracle = deepcopy(beginning.oracle)
        self.devices = [device.copy(device.number) for device in beginning.devices]
        self.backups: dict[int, Device] = {}
        self.in_flight: list[Flight] = []
        self.last_uid = 100_000 if beginning.devices else 1_000  # unlike those of the first day
        self.separations = 0  # how many there ever were
        self.alive: set[int] = set()  # what was created and neither given up nor lost with a device
        self.tally: Counter[str] = Counter()  # what happened, to see that everything does
        self._say = say

    def play(self) -> None:
        """Raises AssertionError where the server did what it must not."""
        with self.disk:
            try:
                for number in range(ROUNDS):
                    self.say("round", number)
                    self._round()
                self.quiet()
                while self.server.publish(0):
                    pass
                store = self.server.store()
                with store.read() as connection:
                    ledger.check(connection, store.keys, self.oracle, self.devices, self.alive)
                    ledger.check_outbox(connection, self.server.broker.heard)
            finally:
                self.server.stop()

    def say(self, *words: object) -> None:
        if self._say:
            self._say(f"{self.clock.time_ms - START_MS:>11} {' '.join(map(str, words))}")

    def _round(self) -> None:
        chance = self.chance
        self.clock.time_ms += chance.choice((MINUTE_MS, HOUR_MS, 7 * HOUR_MS, 2 * DAY_MS, 45 * DAY_MS))
        if chance.random() < 0.05:
            self.tally["power loss"] += 1
            self.say("the power fails")
            self.disk.lose_power()
            self.server.stop()
        elif chance.random() < 0.1:
            self.server.stop(chance.randrange(WORKERS))
        for device in chance.sample(self.devices, 36):
            self._act(device)
        for device in chance.sample(self.devices, 24):
            self._send(device)
        for act, probability in ((rights.erase, 0.3), (rights.unmerge, 0.3), (rights.lift, 0.1)):
            if chance.random() < probability:
                act(self)
        arriving = [one for one in self.in_flight if one.rounds <= 0]
        self.in_flight = [one for one in self.in_flight if one.rounds > 0]
        for one in self.in_flight:
            one.rounds -= 1
        chance.shuffle(arriving)
        while arriving:
            group, arriving = _each_device_once(arriving, chance.choice((1, 12, 30, 30)))
            self.clock.time_ms += chance.randrange(40_000)
            if chance.random() < 0.25:  # the relay is publishing while this is committed
                self.server.broker.meanwhile = partial(self._take, group, crashes=False)
                if self.server.publish(chance.randrange(WORKERS)):
                    continue
                self.server.broker.meanwhile = None
            self._take(group, crashes=True)

    def quiet(self) -> None:
        """No more faults: all that is under way arrives, and every device syncs until it has nothing left to tell."""
        self.say("quiet")
        arriving, self.in_flight = self.in_flight, []
        for _ in range(50):
            while arriving:
                group, arriving = _each_device_once(arriving, MANY)
                self._take(group, crashes=False)
            arriving = [self._flight(device) for device in self.devices if device.busy]
            if not arriving:
                break
        assert not arriving, "some device never gets through"
        arriving = [self._flight(device) for device in self.devices]  # to see what it is told in the end
        while arriving:
            group, arriving = _each_device_once(arriving, MANY)
            self._take(group, crashes=False)

    # What devices do

    def enrol(self, number: int) -> None:
        """Add a device to the world, with somebody who uses it."""
        chance, role = self.chance, DeviceRole.PHONE if number < PHONES else DeviceRole.TILL
        enrolled = self.server.enrol(_public_key(number), role)
        self.oracle.enrol(enrolled.device_id, role, enrolled.epoch, self.clock.time_ms)
        device = Device(
            number=number,
            device_id=enrolled.device_id,
            role=role,
            epoch=enrolled.epoch,
            generation=enrolled.generation,
            format=chance.choice(("application/json", "application/msgpack")),
            capacity=chance.choice((6, 1000, 1000)),
            owner="" if role is DeviceRole.TILL else f"anonymous:device-{number}",
            boot=f"boot-of-{number}",
            booted_ms=self.clock.time_ms - HOUR_MS,
        )
        self.devices.append(device)
        if role is DeviceRole.PHONE and chance.random() < 0.7:
            self._change_user(device)
        elif chance.random() < 0.9:
            self._decide(device, self._speaks_for(device), granted=True)

    def _act(self, device: Device) -> None:
        what = self.chance.random()
        if what < 0.74:
            for _ in range(self.chance.choice((1, 1, 2, 4))):
                self._create(device)
        elif what < 0.84:
            self._change_user(device)
        elif what < 0.90:
            self._decide(device, self._speaks_for(device), self.chance.random() < 0.6)
        elif what < 0.96:
            device.restart(self._uid(), self.clock.time_ms)
            device.wall_error_ms = self.chance.choice(WRONG_CLOCKS_MS)
            self.say("device", device.number, "restarts, its clock wrong by", device.wall_error_ms)
        elif what < 0.99:
            self._copy(device)
        else:
            self._enrol_again(device)

    def _create(self, device: Device) -> None:
        chance, now = self.chance, self.clock.time_ms
        person = chance.randrange(PEOPLE)
        kind = chance.choice(TYPES)
        owner = self._speaks_for(device)
        if chance.random() < 0.02:  # of somebody who is not proven here
            owner = f"login:p{person}"
        ordered = kind in (EventType.PURCHASE, EventType.REFUND) and chance.random() < 0.6
        order = f"order-{owner.partition(':')[2]}-{chance.randrange(ORDERS_OF_A_PERSON)}" if ordered else None
        made = Made(
            uid=self._uid(),
            type=kind,
            owner=owner,
            item=chance.choice(ITEMS),
            quantity=chance.randint(1, 3),
            amount=chance.randrange(500),
            order=order,
            true_ms=now,
            wall_ms=device.wall_ms(now),
            boot=device.boot,
            uptime_ms=now - device.booted_ms,
            flaw=chance.choice(("unknown", "poison")) if chance.random() < 0.03 else "",
        )
        self.alive.add(made.uid)
        before = {one.made.uid for one in device.events if not one.settled} | {made.uid}
        device.create(made)
        given_up = before - {one.made.uid for one in device.events}
        self.alive -= given_up
        self.tally["created event"] += 1
        self.tally["event given up"] += len(given_up)
        self.say(
            "device", device.number, "creates", made.uid, kind, "of", owner, f"gives up {given_up}" * bool(given_up)
        )

    def _speaks_for(self, device: Device) -> str:
        """Who uses a device now; a till is shown cards."""
        if device.role is DeviceRole.PHONE:
            return device.owner
        return f"card:c{self.chance.randrange(PEOPLE)}"

    def _change_user(self, device: Device) -> None:
        if device.role is DeviceRole.TILL:
            return
        if device.owner.startswith("login:") and self.chance.random() < 0.5:
            device.use_as(f"anonymous:session-{self._uid()}")
            self.say("device", device.number, "is logged out")
            return
        home = device.number % PEOPLE
        person = PEOPLE - 1 - self.chance.randrange(3) if home >= PEOPLE - TABLETS else home
        also = [f"card:c{person}"] if self.chance.random() < 0.6 else []
        if self.chance.random() < 0.1:  # a card that a household shares
            also.append(f"card:c{self.chance.randrange(PEOPLE)}")
        if device.owner.startswith("anonymous:") and self.chance.random() < 0.3:
            also.append(device.owner)
        claim: Claim = (f"login:p{person}", tuple(also))
        device.use_as(claim[0])
        device.claims = (*(one for one in device.claims if one[0] != claim[0]), claim)
        self.say("device", device.number, "is logged in as", *claim)
        if self.chance.random() < 0.8:
            self._decide(device, claim[0], granted=True)

    def _decide(self, device: Device, owner: str, granted: bool) -> None:
        some = self.chance.sample(list(Purpose), self.chance.choice((1, 1, 4)))
        now = self.clock.time_ms
        clocks = {
            "decided_at": device.wall_ms(now),
            "boot_id": device.boot,
            "uptime_ms": now - device.booted_ms,
        }
        for purpose in some:
            held = device.profile.consents.get(purpose) if device.profile.owner == owner else None
            fact = ConsentFact(
                fact_id=f"fact-{self._uid()}",
                owner=owner,
                purpose=purpose,
                granted=granted,
                cites=held.version if held else 0,
                **clocks,
            )
            device.facts = (*device.facts, fact)
            self.oracle.decided_ms[fact.fact_id] = now
        self.say("device", device.number, "decides for", owner, granted, *some)

    def _copy(self, device: Device) -> None:
        """Back a phone up, bring a backup back, or clone it: what was never copied is copied once."""
        number, chance = device.number, self.chance
        if number in self.backups:
            backup = self.backups[number]
            kept = {one.made.uid for one in backup.events}
            self.alive -= {one.made.uid for one in device.events if not one.settled} - kept
            self.devices[number] = backup.copy(number)
            self.devices[number].restart(self._uid(), self.clock.time_ms)
            self.tally["restored phone"] += 1
            self.say("device", number, "is restored from its backup")
        elif device.copied:
            return
        elif chance.random() < 0.6:
            device.copied = True
            self.backups[number] = device.copy(number)
            self.say("device", number, "is backed up")
        else:
            device.copied = True
            clone = device.copy(len(self.devices))
            clone.restart(self._uid(), self.clock.time_ms)
            self.devices.append(clone)
            self.tally["cloned phone"] += 1
            self.say("device", number, "is cloned as", clone.number)

    def _enrol_again(self, device: Device) -> None:
        for _ in range(self.chance.choice((1, 2))):  # the first answer may be lost
            number = next(n for n, one in enumerate(self.devices) if one.device_id == device.device_id)
            enrolled = self.server.enrol(_public_key(number), device.role, self.chance.randrange(WORKERS))
            assert enrolled.device_id == device.device_id, "a key that is enrolled keeps its device"
            self.oracle.enrol(enrolled.device_id, device.role, enrolled.epoch, self.clock.time_ms)
        device.epoch = enrolled.epoch
        self.say("device", device.number, "is enrolled again, epoch", device.epoch)

    # What the network does

    def _send(self, device: Device) -> None:
        chance = self.chance
        others: tuple[Sent, ...] = ()
        if chance.random() < 0.04:
            others = (self._odd(device),)
        flight = self._flight(device, limit=chance.choice((2, 5, 500)), others=others, forged=chance.random() < 0.02)
        fate = chance.random()
        if fate < 0.15:
            self.tally["lost request"] += 1
            self.say("the request is lost")
            return
        self.in_flight.append(flight)
        if fate < 0.25:
            self.in_flight.append(Flight(flight.parcel, flight.letter, chance.randrange(4), believed=flight.believed))
            self.tally["doubled request"] += 1
            self.say("the request is doubled")
        elif fate < 0.30:
            flight.rounds = chance.randrange(1, 4)
            self.tally["delayed request"] += 1
            self.say("the request is delayed")
        elif fate < 0.35:
            body = flight.letter.body
            cut = Letter(
                flight.letter.device_id, body[: chance.randrange(len(body))], flight.letter.encoding, device.format
            )
            flight.letter, flight.whole = cut, False
            self.tally["truncated request"] += 1
            self.say("the request is cut short")

    def _flight(self, device: Device, limit: int = 500, others: tuple[Sent, ...] = (), forged: bool = False) -> Flight:
        tokens = ("a forged token",) if forged else tuple(map(token, device.claims))
        parcel = device.ask(self.clock.time_ms, limit, tokens, others)
        request = parcel.request
        self.say(
            "device", device.number, "asks: epoch", request.epoch, "events", *(one.made.uid for one in parcel.sent),
            "held", *request.held, "dropped", *request.dropped, "tokens", *parcel.claims,
        )  # fmt: skip
        return Flight(
            parcel, letter(request, device.format, ("", "zstd")[device.number % 3 > 0]), 0, believed=not forged
        )

    def _odd(self, device: Device) -> Sent:
        """An event that is not of the device's cache: nobody can read it, or its key is not the device's to use."""
        made = Made(0, EventType.VIEW, device.owner or "card:c0", "item", 1, 0, None, 0, 0, device.boot, 0)
        what = self.chance.randrange(3)
        if what == 0:
            return Sent(made, None, encode(f"rubbish {self._uid()}", device.format))
        if what == 1:
            return Sent(made, (device.device_id, 999, 0), device.message(made, 999, 0))
        other = self.devices[(device.number + 1) % (PHONES + TILLS)]
        return Sent(made, (other.device_id, 1, 0), device.message(made, 1, 0, other.device_id))

    # What the server does

    def _take(self, group: Sequence[Flight], crashes: bool) -> None:
        plan = self.plan() if crashes and self.chance.random() < 0.2 else None
        worker = self.chance.randrange(WORKERS)
        self.server.store(worker)  # opening it is a transaction of its own
        before = self.changes() if plan else 0
        good = [one for one in group if one.whole and one.believed]
        self.say("worker", worker, "takes", *((one.parcel.number, one.parcel.attempt) for one in group))
        if plan:
            self.disk.arm(plan)
        try:
            answers = self.server.take([one.letter for one in group], worker)
        except Crash:
            assert plan is not None
            self.tally[f"crash {plan.moment.value}"] += 1
            self.server.stop()
            committed = self.changes() > before
            self.say("crash", plan, "committed" if committed else "not committed")
            if plan.moment is not Moment.IN_COMMIT:
                assert committed is (plan.moment is Moment.AFTER_COMMIT), "a commit is there once it was made"
            if committed:
                self.oracle.take([one.parcel for one in good], self.clock.time_ms, self.witness)
            return
        self.disk.disarm()
        expected = iter(self.oracle.take([one.parcel for one in good], self.clock.time_ms, self.witness))
        for flight, answer in zip(group, answers, strict=True):
            wanted = next(expected) if flight.whole and flight.believed else None
            self._answered(flight.parcel, answer, wanted, lost=crashes and self.chance.random() < 0.15)

    def _answered(
        self, parcel: Parcel, answer: tuple[bytes, str] | InputError, expected: Expected | None, lost: bool
    ) -> None:
        self.tally["request"] += 1
        self.tally["lost answer"] += lost
        if isinstance(answer, InputError):
            self.tally["refused request"] += 1
            assert expected is None, f"refused as a whole: {answer}"
            if not lost:
                self.devices[parcel.number].be_refused(parcel)
            return
        assert expected is not None, "a request was taken that must be refused as a whole"
        heard = read_answer(answer)
        kinds = [one.kind for one in heard.verdicts]
        told = (heard.epoch, heard.watermark, list(heard.gaps))
        self.say("device", parcel.number, "is told", *kinds, *told, "and does not hear it" * lost)
        self.tally.update(f"{kind} event" for kind in kinds)
        self.tally["event that only the server can judge"] += sum(len(could) > 1 for could in expected.verdicts)
        self.tally["answer with gaps"] += bool(heard.gaps)
        fits = len(kinds) == len(expected.verdicts) and all(map(contains, expected.verdicts, kinds))
        assert fits, f"device {parcel.number} is told {kinds}, not {expected.verdicts}"
        wanted = (expected.epoch, expected.watermark, expected.gaps)
        assert told == wanted, f"device {parcel.number} is told {told}, not {wanted}"
        self.oracle.hear(parcel, kinds)
        if heard.profile is not None:
            assert heard.profile.owner == (parcel.request.owner or ""), "a profile of somebody else"
        forgets = heard.profile is not None and heard.profile.erased
        assert forgets is expected.forgets, f"device {parcel.number} is told to forget: {forgets}"
        if not lost:
            self.clock.time_ms += self.chance.randrange(2_000)
            forgotten = self.devices[parcel.number].hear(parcel, heard, self.clock.time_ms)
            self.tally["event forgotten"] += len(forgotten)
            self.alive -= forgotten

    def changes(self) -> int:
        """The number of the last transaction that was committed."""
        return int(self.disk.ask(CHANGES))

    def plan(self) -> Plan:
        statement = self.chance.randrange(60)
        return Plan(self.chance.choice((Moment.STATEMENT, *Moment)), self.chance.random() < 0.7, statement)

    def _uid(self) -> int:
        self.last_uid += 1
        return self.last_uid


def _each_device_once(flights: list[Flight], size: int) -> tuple[list[Flight], list[Flight]]:
    """The next group and the rest: as a transaction is made up, each device once."""
    group: list[Flight] = []
    rest: list[Flight] = []
    for one in flights:
        taken = {other.letter.device_id for other in group}
        (rest if len(group) >= size or one.letter.device_id in taken else group).append(one)
    return group, rest


def _public_key(number: int) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(number.to_bytes(32)).public_key().public_bytes_raw()
