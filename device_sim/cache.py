"""The device's event cache: numbers events at creation, keeps them until the server has them for good, and is bounded.

An event goes through: created (numbered without gaps within the epoch), sent (any number of times), settled (the
server's verdict is final), forgotten (the server's watermark has passed it). A full cache gives up settled events
first, which the server has, then the least important of the others, and remembers which numbers it gave up.
"""

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable

import msgspec

from contracts import codec
from contracts.errors import WireError
from contracts.events import Event, EventKey, EventType
from contracts.sync import (
    MAX_DECODED_BYTES,
    MAX_EVENTS,
    MAX_RANGES,
    SEND_ORDER,
    Dropped,
    SeqRange,
    SyncRequest,
    SyncResponse,
    VerdictKind,
)
from device_sim.database import Database

DEFAULT_CAPACITY = 10_000  # events
NOT_ENROLLED = -1  # epoch of events created before the server has given one
_BATCH_BYTES = MAX_DECODED_BYTES // 4  # of events in one request: leaves room for ranges and proofs
_COUNTS = msgspec.json.Decoder(dict[EventType, int])


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What one request says about the events of one epoch."""

    epoch: int
    events: tuple[Event, ...]
    held: tuple[SeqRange, ...]
    dropped: tuple[Dropped, ...]
    resent: int  # events that an earlier request carried already


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """What the server's answer meant for the events sent."""

    verdicts: dict[VerdictKind, int]
    refused: tuple[tuple[EventKey, str], ...]  # quarantined or refused, with the reason
    renumbered: tuple[tuple[EventKey, EventKey], ...]  # old key, new key


class EventCache:
    """Events of one device, oldest epoch first; every public method is one transaction."""

    def __init__(self, database: Database, capacity: int = DEFAULT_CAPACITY) -> None:
        self._database = database
        self._capacity = capacity

    @property
    def device_id(self) -> str:
        """Empty until the device is enrolled."""
        return (self._database.get("device_id") or b"").decode()

    @property
    def epoch(self) -> int:
        """Of events created from now on."""
        return int(self._database.get("epoch") or NOT_ENROLLED)

    @property
    def generation(self) -> str:
        """Of the store that settled what is settled."""
        return (self._database.get("generation") or b"").decode()

    def adopt(self, device_id: str, epoch: int, generation: str) -> tuple[tuple[EventKey, EventKey], ...]:
        """Take what the server gave at enrolment.

        Under a new device id every event is new to the server, and is numbered anew.

        Returns:
            old and new key of the events that were numbered anew.
        """
        with self._database.transaction() as connection:
            before = self.device_id
            self._database.put("device_id", device_id.encode())
            self._database.put("epoch", str(epoch).encode())
            self._database.put("generation", generation.encode())
            if before == device_id:
                return ()
            events = connection.execute("SELECT epoch, seq, NULL FROM events").fetchall()
            dropped = connection.execute("SELECT epoch, first, last FROM dropped").fetchall()
            # The old numbers may be those that are given out now: move all out of the way, then in again.
            connection.execute("UPDATE events SET epoch = -2 - epoch, settled = 0")
            connection.execute("UPDATE dropped SET epoch = -2 - epoch, reported = 0")
            connection.execute("DELETE FROM epochs")
            moved = []
            for old, first, last in sorted(events + dropped, key=lambda row: row[:2]):
                if last is None:
                    new = self._renumber(connection, -2 - old, first, epoch)
                    moved.append((EventKey(before, old, first), EventKey(device_id, *new)))
                    continue
                start = self._next_seq(connection, epoch, last - first + 1)
                connection.execute(
                    "UPDATE dropped SET epoch = ?, first = ?, last = ? WHERE epoch = ? AND first = ?",
                    (epoch, start, start + last - first, -2 - old, first),
                )
            return tuple(moved)

    def record(self, events: Iterable[Event]) -> tuple[Event, ...]:
        """Number events and keep them.

        Args:
            events: in order; their device id, epoch and seq are set here.

        Returns:
            the events as numbered; the least important of a full cache may be given up already.
        """
        with self._database.transaction() as connection:
            device_id, epoch = self.device_id, self.epoch
            recorded = []
            for event in events:
                seq = self._next_seq(connection, epoch)
                connection.execute(
                    "INSERT INTO events (epoch, seq, owner, type, priority, payload) VALUES (?, ?, ?, ?, ?, ?)",
                    (epoch, seq, event.owner, event.type, SEND_ORDER.index(event.type), _pack(event)),
                )
                recorded.append(msgspec.structs.replace(event, device_id=device_id, epoch=epoch, seq=seq))
            self._make_room(connection)
            return tuple(recorded)

    def next_batch(self, limit: int = MAX_EVENTS) -> Batch:
        """What to send next, the most important events first: of the epoch that has the most important of all.

        The events count as sent from here on, whether or not the request reaches the server.
        """
        with self._database.transaction() as connection:
            epoch = connection.execute(
                "SELECT epoch FROM (SELECT epoch, priority FROM events WHERE NOT settled"
                " UNION ALL SELECT epoch, :last FROM dropped WHERE NOT reported UNION ALL SELECT :epoch, :last + 1)"
                " ORDER BY priority, epoch LIMIT 1",
                {"epoch": self.epoch, "last": len(SEND_ORDER)},
            ).fetchone()[0]
            rows: list[tuple[int, bytes]] = []
            total_bytes, resent = 0, 0
            for seq, payload, sends in connection.execute(
                "SELECT seq, payload, sends FROM events WHERE epoch = ? AND NOT settled ORDER BY priority, seq LIMIT ?",
                (epoch, limit),
            ):
                total_bytes += len(payload)
                if rows and total_bytes > _BATCH_BYTES:
                    break
                rows.append((seq, payload))
                resent += sends > 0
            sent = {seq for seq, _ in rows}
            connection.executemany(
                "UPDATE events SET sends = sends + 1 WHERE epoch = ? AND seq = ?", [(epoch, seq) for seq in sent]
            )
            kept = connection.execute("SELECT seq FROM events WHERE epoch = ? ORDER BY seq", (epoch,))
            dropped = connection.execute(
                "SELECT first, last, counts FROM dropped WHERE epoch = ? ORDER BY first", (epoch,)
            ).fetchall()
            return Batch(
                epoch=epoch,
                events=tuple(self._unpack(payload, epoch, seq) for seq, payload in rows),
                held=ranges_of(seq for (seq,) in kept if seq not in sent)[:MAX_RANGES],
                dropped=tuple(
                    Dropped(range=SeqRange(first, last), counts=_COUNTS.decode(counts))
                    for first, last, counts in dropped[:MAX_RANGES]
                ),
                resent=resent,
            )

    def settle(self, batch: Batch, request: SyncRequest, response: SyncResponse) -> Settled:
        """Take the server's verdicts, watermark, epoch and generation.

        Raises:
            WireError: if the answer has not one verdict for each event, or a conflict without a new epoch; nothing is
                changed then.
        """
        verdicts = {verdict.position: verdict for verdict in response.verdicts}
        if len(response.verdicts) != len(batch.events) or verdicts.keys() != set(range(len(batch.events))):
            raise WireError(f"{len(batch.events)} events were sent, the answer has verdicts for {sorted(verdicts)}")
        refused, renumbered = [], []
        with self._database.transaction() as connection:
            if response.generation != request.generation:  # a restored store: what another one settled, it may lack
                connection.execute("UPDATE events SET settled = 0")
                self._database.put("generation", response.generation.encode())
            self._database.put(
                "epoch", str(max(self.epoch, response.epoch)).encode()
            )  # an old epoch's answer may name it
            for position, event in enumerate(batch.events):
                verdict = verdicts[position]
                if verdict.kind is VerdictKind.CONFLICT:
                    if response.epoch == event.epoch:
                        raise WireError(f"event {event.key} is in conflict, but the answer gives no new epoch")
                    new = self._renumber(connection, event.epoch, event.seq, response.epoch)
                    renumbered.append((event.key, EventKey(event.device_id, *new)))
                    continue
                if verdict.kind in (VerdictKind.QUARANTINED, VerdictKind.REFUSED):
                    refused.append((event.key, verdict.reason))
                connection.execute(
                    "UPDATE events SET settled = 1 WHERE epoch = ? AND seq = ?", (event.epoch, event.seq)
                )
            connection.execute("UPDATE dropped SET reported = 1 WHERE epoch = ?", (batch.epoch,))
            passed = (batch.epoch, response.watermark)
            connection.execute("DELETE FROM events WHERE epoch = ? AND seq <= ? AND settled", passed)
            connection.execute("DELETE FROM dropped WHERE epoch = ? AND last <= ?", passed)
        counts = Counter(verdict.kind for verdict in verdicts.values())
        return Settled(verdicts=dict(counts), refused=tuple(refused), renumbered=tuple(renumbered))

    def unsettled(self) -> int:
        """How many events the server has given no final verdict on."""
        return self._database.connection.execute("SELECT count(*) FROM events WHERE NOT settled").fetchone()[0]

    def give_up(self, owners: Collection[str]) -> None:
        """Forget all events of some owners; what the server has given no verdict on counts as dropped."""
        with self._database.transaction() as connection:
            for owner in owners:
                rows = connection.execute(
                    "DELETE FROM events WHERE owner = ? RETURNING epoch, seq, type, settled", (owner,)
                ).fetchall()
                for epoch, seq, kind, settled in sorted(rows):
                    if not settled:
                        _remember_dropped(connection, epoch, seq, EventType(kind))

    def owners(self, limit: int) -> list[str]:
        """Whose events are still here, the latest first."""
        rows = self._database.connection.execute(
            "SELECT owner FROM events GROUP BY owner ORDER BY max(epoch) DESC, max(seq) DESC LIMIT ?", (limit,)
        )
        return [owner for (owner,) in rows]

    def kept(self, owners: Collection[str], *, settled: bool) -> list[Event]:
        """Events of these owners that are still here, with or without those that are settled."""
        rows = self._database.connection.execute(
            "SELECT epoch, seq, payload FROM events WHERE NOT settled OR ? ORDER BY epoch, seq", (settled,)
        )
        events = (self._unpack(payload, epoch, seq) for epoch, seq, payload in rows)
        return [event for event in events if event.owner in owners]

    def dropped(self) -> Counter[EventType]:
        """What a full cache gave up and the server has not put on record yet."""
        rows = self._database.connection.execute("SELECT counts FROM dropped")
        return sum((Counter(_COUNTS.decode(counts)) for (counts,) in rows), Counter())

    def _unpack(self, payload: bytes, epoch: int, seq: int) -> Event:
        event = codec.decode(payload, Event, "application/msgpack")
        return msgspec.structs.replace(event, device_id=self.device_id, epoch=epoch, seq=seq)

    def _next_seq(self, connection: sqlite3.Connection, epoch: int, count: int = 1) -> int:
        """The first of `count` numbers that nothing has had."""
        return connection.execute(
            "INSERT INTO epochs VALUES (:epoch, :count) ON CONFLICT (epoch) DO UPDATE SET next_seq = next_seq + :count"
            " RETURNING next_seq - :count",
            {"epoch": epoch, "count": count},
        ).fetchone()[0]

    def _renumber(self, connection: sqlite3.Connection, epoch: int, seq: int, new_epoch: int) -> tuple[int, int]:
        new = (new_epoch, self._next_seq(connection, new_epoch))
        connection.execute(
            "UPDATE events SET epoch = ?, seq = ?, settled = 0 WHERE epoch = ? AND seq = ?", (*new, epoch, seq)
        )
        return new

    def _make_room(self, connection: sqlite3.Connection) -> None:
        excess = connection.execute("SELECT count(*) FROM events").fetchone()[0] - self._capacity
        rows = connection.execute(
            "SELECT epoch, seq, type, settled FROM events ORDER BY settled DESC, priority DESC, epoch, seq LIMIT ?",
            (max(excess, 0),),
        ).fetchall()
        for epoch, seq, kind, settled in rows:
            connection.execute("DELETE FROM events WHERE epoch = ? AND seq = ?", (epoch, seq))
            if not settled:
                _remember_dropped(connection, epoch, seq, EventType(kind))


def _remember_dropped(connection: sqlite3.Connection, epoch: int, seq: int, kind: EventType) -> None:
    """Join a given-up number with the ranges beside it, so that a long time offline takes few rows."""
    neighbours = connection.execute(
        "SELECT first, last, counts FROM dropped WHERE epoch = ? AND (last = ? OR first = ?)", (epoch, seq - 1, seq + 1)
    ).fetchall()
    counts = Counter({kind: 1})
    for first, _, packed in neighbours:
        counts.update(_COUNTS.decode(packed))
        connection.execute("DELETE FROM dropped WHERE epoch = ? AND first = ?", (epoch, first))
    first = min([seq, *(row[0] for row in neighbours)])
    last = max([seq, *(row[1] for row in neighbours)])
    connection.execute(
        "INSERT INTO dropped (epoch, first, last, counts) VALUES (?, ?, ?, ?)",
        (epoch, first, last, codec.encode(dict(counts))),
    )


def ranges_of(numbers: Iterable[int]) -> tuple[SeqRange, ...]:
    """Ascending numbers as ranges without a gap inside."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return tuple(SeqRange(first, last) for first, last in ranges)


def _pack(event: Event) -> bytes:
    """An event without its number, which the row has: it may change, the event does not."""
    return codec.encode(msgspec.structs.replace(event, device_id="?", epoch=0, seq=0), "application/msgpack")
