"""The relay: publishes what the outbox holds, each message at least once and those of a person in their order.

A batch of rows goes out in waves within which nobody is named twice; the next wave waits until the broker has
acknowledged the last one, and only then is the batch marked. Whatever fails in between, the batch is sent again with
the same ids. So whoever drops ids that they have seen gets every person's messages in order, even where two relays run
at once for a moment: before a relay sends a message first, it has sent those before it, or found them marked.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from functools import partial

from contracts.errors import ConfigError
from contracts.outbox import handles_of
from sync_server import outbox
from sync_server.brokers import Publisher, publisher, shown
from sync_server.outbox import Row
from sync_server.settings import ServerSettings
from sync_server.sql_store import open_store
from sync_server.store import Store

LOCK = "relay"
BATCH = 256  # rows that are read, published and marked together
IDLE_S = 0.2  # between two looks into an empty outbox
FIRST_BACK_OFF_S = 0.5  # doubled with every failure in a row, up to
LAST_BACK_OFF_S = 30.0
PRUNE_EVERY = 100  # looks; some rows each time, so that the writers' turn is short
PRUNED_TOGETHER = 10_000
DAY_MS = 86_400_000

_log = logging.getLogger(__name__)


def relay(settings: ServerSettings) -> None:
    """Publish until SIGTERM or SIGINT, then finish the batch that is under way.

    Raises:
        ConfigError: if the settings name no broker or none that is known, or the database cannot be opened.
    """
    if settings.broker is None:
        raise ConfigError('the settings name no broker: add "broker": "nats://host:4222", or run no relay')
    connect = partial(publisher, settings.broker, settings.outbox_days)
    connect()  # an address that is none is told now
    store = open_store(settings.database_url, settings.clock(), publishes=True)
    try:
        asyncio.run(_until_stopped(Relay(store, connect, settings.outbox_days), shown(settings.broker)))
    finally:
        store.close()


async def _until_stopped(relay: "Relay", address: str) -> None:
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    print(f"pocketrec relay to {address}", flush=True)
    await relay.run(stopping)


class Relay:
    """Takes rows of one store to one broker."""

    def __init__(self, store: Store, connect: Callable[[], Publisher], kept_days: int) -> None:
        """Nothing happens yet.

        Args:
            store: with the outbox.
            connect: makes a publisher that is not open; asked again after every failure.
            kept_days: how long published rows stay.
        """
        self._store = store
        self._connect = connect
        self._kept_ms = kept_days * DAY_MS
        self._failures = 0  # since a batch was published

    async def run(self, stopping: asyncio.Event) -> None:
        """Publish until told to stop, as soon as no other relay does; try again for ever where anything fails."""
        while not stopping.is_set():
            try:
                with self._store.alone(LOCK) as mine:
                    if mine:
                        await self._publish_all(stopping)
                    else:
                        await _pause(stopping, IDLE_S)
            except Exception as error:  # clients of brokers and databases raise what they like
                wait = min(FIRST_BACK_OFF_S * 2**self._failures, LAST_BACK_OFF_S)
                self._failures += 1
                _log.warning("the relay cannot publish (%s), and tries again in %.1f s", _said(error), wait)
                await _pause(stopping, wait)

    async def _publish_all(self, stopping: asyncio.Event) -> None:
        speaker = self._connect()
        try:
            await speaker.open()
            looks = 0
            while not stopping.is_set():
                if not await self.step(speaker):
                    await _pause(stopping, IDLE_S)
                self._failures = 0
                looks += 1
                if looks % PRUNE_EVERY == 0:
                    await asyncio.to_thread(self._prune)
        finally:
            await _close(speaker)

    async def step(self, speaker: Publisher) -> int:
        """Publish one batch and mark it; returns of how many rows."""
        rows = await asyncio.to_thread(self._pending)
        for wave in waves(rows):
            sent = (
                speaker.publish(row.body.encode(), row.handle, f"{self._store.generation}-{row.id}") for row in wave
            )
            for failure in await asyncio.gather(*sent, return_exceptions=True):
                if failure is not None:
                    raise failure
        if rows:
            await asyncio.to_thread(self._mark, rows[-1].id)
        return len(rows)

    def _pending(self) -> list[Row]:
        with self._store.read() as connection:
            return outbox.pending(connection, BATCH)

    def _mark(self, through: int) -> None:
        with self._store.write() as connection:
            outbox.mark_published(connection, through)

    def _prune(self) -> None:
        with self._store.write() as connection:
            outbox.prune(connection, self._store.now_ms() - self._kept_ms, PRUNED_TOGETHER)


def waves(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows cut into runs within which nobody is named twice."""
    found: list[list[Row]] = []
    named: set[str] = set()
    for row in rows:
        about = handles_of(row.message)
        if not found or named & about:
            found.append([])
            named = set()
        found[-1].append(row)
        named |= about
    return found


async def _close(speaker: Publisher) -> None:
    try:
        await speaker.close()
    except Exception as error:  # it has failed already, or never opened
        _log.debug("the broker's connection did not close (%s)", _said(error))


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    """Wait, but not beyond the end."""
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
