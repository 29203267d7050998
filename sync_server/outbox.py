"""The transactional outbox: what is to be told outward, written in the transaction in which it happens.

Nothing is told that was not committed, and nothing that was committed is forgotten. Writers take turns, so rows are
committed in the order of their ids; hence one number says how far the relay (see `sync_server.relay`) has come: no row
at or below it can appear later.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, delete, func, select, update

from contracts.codec import encode
from contracts.outbox import Message, handles_of, kind_of
from sync_server.bulk import insert_rows, rows_at
from sync_server.tables import outbox, owners, store
from sync_server.turn import Turn


@dataclass(frozen=True)
class Row:
    """A message in the outbox."""

    id: int
    handle: str
    body: str  # JSON of the message

    @property
    def message(self) -> Message:
        return _message(self.body)


@dataclass(frozen=True)
class Told:
    """A message that went outward, or surely will."""

    message: Message
    acknowledged: bool  # by the broker; if not, it is on its way


@dataclass(frozen=True)
class Waiting:
    """What the broker has not acknowledged yet."""

    messages: int
    oldest_ms: int  # how long the oldest of them has waited; 0 if there is none


def add(turn: Turn, messages: Iterable[Message]) -> None:
    """Write messages in one statement, of one kind about the same people only the last, and none if nobody reads."""
    if not turn.publishes:
        return
    newest = {(kind_of(message), handles_of(message)): message for message in messages}
    rows = [
        {"handle": message.handle, "created_at": turn.now_ms, "body": encode(message).decode()}
        for message in newest.values()
    ]
    insert_rows(turn.connection, outbox, rows)


def persons(connection: Connection, owner_ids: Collection[int]) -> dict[int, str]:
    """The persons that some owners are, with the handles that messages call them by."""
    one, person = owners.alias(), owners.alias()
    chosen = select(person.c.id, person.c.handle).distinct().where(one.c.id.in_(sorted(owner_ids)))
    rows = connection.execute(chosen.join_from(one, person, person.c.id == one.c.person_id).order_by(person.c.id))
    return {row.id: row.handle for row in rows}


def pending(connection: Connection, limit: int) -> list[Row]:
    """The oldest rows that are not published, in the order in which they were committed."""
    published = select(store.c.published).scalar_subquery()
    wanted = select(outbox.c.id, outbox.c.handle, outbox.c.body).where(outbox.c.id > published)
    return [Row(*row) for row in connection.execute(wanted.order_by(outbox.c.id).limit(limit))]


def mark_published(connection: Connection, through: int) -> None:
    """Note that the broker has acknowledged every row up to this one."""
    connection.execute(update(store).where(store.c.published < through).values(published=through))


def prune(connection: Connection, before_ms: int, limit: int) -> int:
    """Delete published rows that were written before a time, the oldest ones first; returns how many."""
    published = select(store.c.published).scalar_subquery()
    old = select(outbox.c.id).where(outbox.c.id <= published).order_by(outbox.c.id).limit(limit).subquery()
    gone = delete(outbox).where(outbox.c.id.in_(select(old.c.id)), outbox.c.created_at < before_ms)
    return int(connection.execute(gone).rowcount)


def published(connection: Connection, handles: Collection[str], since_ms: int = 0) -> list[Told]:
    """What went outward under these handles from a time on, oldest first, as far back as rows are kept."""
    acknowledged = connection.execute(select(store.c.published)).scalar_one()
    rows = rows_at(connection, outbox, ("handle",), [(handle,) for handle in sorted(set(handles))])
    return [
        Told(_message(row.body), row.id <= acknowledged)
        for row in sorted(rows, key=lambda row: row.id)
        if row.created_at >= since_ms
    ]


def waiting(connection: Connection, now_ms: int) -> Waiting:
    """How far the relay is behind."""
    published = select(store.c.published).scalar_subquery()
    behind = select(func.count(), func.min(outbox.c.created_at)).where(outbox.c.id > published)
    messages, oldest = connection.execute(behind).one()
    return Waiting(messages, max(now_ms - oldest, 0) if messages else 0)


def _message(body: str) -> Message:
    read: Message = msgspec.json.decode(body, type=Message)
    return read
