"""Erasure: nothing of a person stays, and nothing of what was comes back; a fresh start is free.

What goes: the owners with their hashes and handles, links, proofs, decisions, summaries, payloads and tasks. What stays
names nobody: the numbers of events (so that nothing is counted twice), and a *tombstone* for each identifier. Whoever
uses the identifier again is a new owner without consent, for whom nothing made up to the erasure is taken: not what a
phone sends late, not an opt-in of before, and where a clock leaves doubt, not that either.

The journal has the erasure before it is committed (`sync_server.erasure_journal`). `replay` does again whatever a store
lacks of it.
"""

import hashlib
import secrets
from collections.abc import Collection, Iterable

from sqlalchemy import Connection, delete, or_, select, update

from contracts.errors import UnknownError
from contracts.outbox import Erased as Told
from contracts.people import Forgotten
from contracts.sync import VerdictKind
from sync_server import audit_log, outbox
from sync_server.bulk import insert_rows
from sync_server.erasure_journal import Erasure, ErasureJournal, Identifier, Reached
from sync_server.owner_events import joined
from sync_server.store import Store
from sync_server.tables import (
    devices,
    erasures,
    events,
    links,
    metadata,
    owner_events,
    owners,
    round_tasks,
    tombstones,
)
from sync_server.turn import Turn, take_turn

ERASED = "the owner was erased after this was made, or the clocks cannot tell: drop it"
OF_OWNERS = tuple(
    table for table in metadata.sorted_tables if "owner_id" in table.columns and table not in (events, devices)
)
"""Tables of which an owner's rows go whole."""


def request_key(device_id: str, request: bytes) -> str:
    """By what a person's request is known again: 64 hexadecimal digits, which tell nothing of it."""
    return hashlib.sha256(device_id.encode() + b"\n" + request).hexdigest()


def answered(connection: Connection, request: str) -> Forgotten | None:
    """What a person's request was answered with, None if it was not carried out."""
    mine = select(erasures).where(erasures.c.request == request).order_by(erasures.c.erased_at).limit(1)
    row = connection.execute(mine).one_or_none()
    return None if row is None else Forgotten(erased_at=row.erased_at, owners=row.owners)


def erase(
    turn: Turn, journal: ErasureJournal, generation: str, person_id: int, actor: str, request: str = ""
) -> Erasure:
    """Erase a person: all linked owners, as they are now.

    Args:
        turn: the transaction. Should it fail, what the journal says is completed within a minute, see `Completion`.
        journal: of the store.
        generation: of the store.
        person_id: whom.
        actor: who asked for it, see `sync_server.audit_log.Entry`.
        request: see `request_key`, empty if it was not the person.

    Returns:
        what the journal says of it.

    Raises:
        UnknownError: if there is no such person.
    """
    rows = turn.connection.execute(select(owners).where(owners.c.person_id == person_id)).all()
    if not rows:
        raise UnknownError("nothing is held about this person: there is nothing to erase")
    handle = next((row.handle for row in rows if row.id == person_id), rows[0].handle)
    erasure = Erasure(
        erasure_id=secrets.token_hex(16),
        erased_at=turn.now_ms,
        handles=(handle, *sorted({row.handle for row in rows} - {handle})),
        identifiers=tuple(sorted(Identifier(row.digest, row.key_version) for row in rows)),
        reached=Reached(generation, turn.stamp),
        request=request,
    )
    journal.append(erasure)
    _carry_out(turn, [erasure])
    audit_log.record(turn, actor, "erase", handle, {"owners": len(rows)})
    return erasure


def replay(turn: Turn, erasures_told: Iterable[Erasure]) -> int:
    """Carry out the erasures that a store lacks; returns how many those are."""
    done = set(turn.connection.execute(select(erasures.c.erasure_id)).scalars())
    missing = [one for one in erasures_told if one.erasure_id not in done]
    if missing:
        _carry_out(turn, missing)
        audit_log.record(turn, "operator", "replay_erasures", "", {"erasures": len(missing)})
    return len(missing)


class Completion:
    """Carries out erasures whose transaction failed after the journal had them, while the server runs."""

    def __init__(self, store: Store, journal: ErasureJournal) -> None:
        self._store, self._journal = store, journal
        self._seen_bytes = -1  # of the journal, when nothing in it was missing here

    def __call__(self) -> int:
        """Look whether the journal has become longer; returns how many erasures were carried out.

        Raises:
            ConfigError: if the journal is damaged.
        """
        size = self._journal.bytes()
        if size == self._seen_bytes:
            return 0
        done = 0
        if self._lacking():
            with take_turn(self._store) as turn:  # whoever writes a line holds the turn: all that is read has ended
                done = replay(turn, self._erasures())
        self._seen_bytes = size
        return done

    def _lacking(self) -> bool:
        with self._store.read() as connection:
            done = set(connection.execute(select(erasures.c.erasure_id)).scalars())
        return any(one.erasure_id not in done for one in self._erasures())

    def _erasures(self) -> list[Erasure]:
        return [line for line in self._journal.read() if isinstance(line, Erasure)]


def _carry_out(turn: Turn, some: Collection[Erasure]) -> None:
    """Oldest first."""
    connection = turn.connection
    for one in some:
        digests = [identifier.digest for identifier in one.identifiers]
        # Who came back after a later erasure is not of this one, which may be carried out again long after it failed.
        named = or_(owners.c.handle.in_(one.handles), owners.c.digest.in_(digests)) & (
            owners.c.not_before < one.erased_at
        )
        _remove(connection, connection.execute(select(owners.c.id).where(named)).scalars().all(), one.erased_at)
        later = tombstones.c.digest.in_(digests) & (tombstones.c.erased_at > one.erased_at)
        barred = set(connection.execute(select(tombstones.c.digest).where(later)).scalars())
        stones = [
            {"digest": identifier.digest, "key_version": identifier.key_version, "erased_at": one.erased_at}
            for identifier in one.identifiers
            if identifier.digest not in barred
        ]
        insert_rows(connection, tombstones, stones, "replace")
    told = [Told(handle=one.handles[0], also=one.handles[1:], version=turn.stamp, at=one.erased_at) for one in some]
    outbox.add(turn, told)
    done = [
        {
            "erasure_id": one.erasure_id,
            "erased_at": one.erased_at,
            "owners": len(one.handles),
            "request": one.request,
        }
        for one in some
    ]
    insert_rows(connection, erasures, sorted(done, key=lambda row: row["erasure_id"]))


def _remove(connection: Connection, owner_ids: Collection[int], erased_at: int) -> None:
    # Without a payload's hash the key is in conflict with every event: who sends one again gets a new epoch for it,
    # and under its new key it is judged by the tombstone.
    nothing = {"payload_hash": b"", "verdict": VerdictKind.REFUSED.value, "reason": ERASED}
    unknown = dict.fromkeys(("owner_id", "occurred_ms", "uncertain", "profiled", "payload"))
    connection.execute(update(events).where(joined(), owner_events.c.owner_id.in_(owner_ids)).values(nothing | unknown))
    connection.execute(
        update(devices).where(devices.c.owner_id.in_(owner_ids)).values(owner_id=None, erased_at=erased_at)
    )
    connection.execute(delete(round_tasks).where(round_tasks.c.person_id.in_(owner_ids)))
    connection.execute(delete(links).where(or_(links.c.first_id.in_(owner_ids), links.c.second_id.in_(owner_ids))))
    for table in OF_OWNERS:
        connection.execute(delete(table).where(table.c.owner_id.in_(owner_ids)))
    connection.execute(delete(owners).where(owners.c.id.in_(owner_ids)))
