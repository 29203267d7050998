"""Before a server is ready: is the store an older one, and does it lack erasures?

A restored backup has forgotten what came after it. It gets a new generation, so that phones send again what they hold,
and the erasures that it lacks are carried out again. The operator says that a backup was restored (`python -m
sync_server --settings FILE restored`). Where the journal shows that the store has come less far than it once had, it
is found out without being told; what happened between the journal's last line and a crash leaves no such trace.
"""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select, update

from sync_server import audit_log, erasure, tables
from sync_server.erasure_journal import Erasure, ErasureJournal, Mark, Reached
from sync_server.settings import ServerSettings
from sync_server.sql_store import open_store
from sync_server.store import Store
from sync_server.turn import Turn, take_turn

GENERATION_BYTES = 8

_log = logging.getLogger(__name__)


@contextmanager
def ready_store(settings: ServerSettings, restored: bool = False) -> Iterator[Store]:
    """The store that a server's settings name, ready; servers may run beside it.

    Args:
        settings: of the server.
        restored: see `make_ready`.

    Raises:
        ConfigError: if it cannot be opened, the keys are not its own, or the journal is damaged.
    """
    # What recovery erases is told outward as any erasure is.
    publishes = settings.broker is not None
    store = open_store(settings.database_url, settings.clock(), settings.keys, publishes)
    try:
        make_ready(store, ErasureJournal(Path(settings.erasure_journal)), restored)
        yield store
    finally:
        store.close()


def make_ready(store: Store, journal: ErasureJournal, restored: bool = False) -> str:
    """Bring a store up to its journal; to be called before it takes anything.

    Args:
        store: just opened.
        journal: of the store.
        restored: whether the operator says that it comes from a backup.

    Returns:
        the store's generation from now on.
    """
    with take_turn(store) as turn:
        lines = journal.read()
        known = turn.connection.execute(select(tables.store.c.generation)).scalar_one()
        last = lines[-1].reached if lines else Reached(known, 0)
        if restored or last.generation != known or turn.stamp < last.changes:
            if not restored:
                _log.warning("the store is older than %s: it is taken for a restored backup", last)
            generation = _renew(turn, "operator" if restored else "server")
        else:
            generation = known
        erased = erasure.replay(turn, [line for line in lines if isinstance(line, Erasure)])
        if erased:
            _log.warning("%d erasures that the store lacked were carried out again", erased)
        journal.append(Mark(Reached(generation, turn.stamp)))
    store.adopt_generation(generation)
    return generation


def note_end(store: Store, journal: ErasureJournal) -> None:
    """Remember how far the store has come when a server ends."""
    with store.read() as connection:
        row = connection.execute(select(tables.store.c.generation, tables.store.c.changes)).one()
    journal.append(Mark(Reached(row.generation, row.changes + 1)))


def _renew(turn: Turn, actor: str) -> str:
    generation = secrets.token_hex(GENERATION_BYTES)
    turn.connection.execute(update(tables.store).values(generation=generation))
    audit_log.record(turn, actor, "restored", "", {"generation": generation})
    return generation
