"""What a server does from time to time: take out what has expired, finish erasures that failed."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from contracts.errors import ConfigError
from sync_server import erasure, hour_counts, quarantine
from sync_server.erasure_journal import ErasureJournal
from sync_server.settings import ServerSettings
from sync_server.store import Store

PRUNED_EVERY_S = 3600
COMPLETED_EVERY_S = 60  # a person who was answered with an error is waiting
LOOK_S = 10

_log = logging.getLogger(__name__)


class Upkeep:
    """A thread beside the requests; several workers may each have one."""

    def __init__(
        self,
        store: Store,
        settings: ServerSettings,
        journal: ErasureJournal,
        seconds: Callable[[], float] = time.monotonic,
        look_s: float = LOOK_S,
    ) -> None:
        """
        Args:
            store: of the server.
            settings: of the server.
            journal: of the store.
            seconds: a clock that only runs forward.
            look_s: how often it is looked at.
        """
        self._tasks: list[tuple[float, Callable[[], object]]] = [
            (COMPLETED_EVERY_S, erasure.Completion(store, journal)),
            (PRUNED_EVERY_S, partial(hour_counts.prune, store)),
            (PRUNED_EVERY_S, partial(quarantine.prune, store, settings.quarantine_days)),
        ]
        self._seconds, self._look_s = seconds, look_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep")
        self._thread.start()

    def close(self) -> None:
        """End the thread once what it is doing is done."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        due = [self._seconds() + every_s for every_s, _ in self._tasks]
        while not self._closing.wait(self._look_s):
            for place, (every_s, task) in enumerate(self._tasks):
                if self._seconds() >= due[place]:
                    due[place] = self._seconds() + every_s
                    try:
                        task()
                    except (SQLAlchemyError, ConfigError, OSError) as error:
                        _log.error("upkeep is put off: %s", error)
