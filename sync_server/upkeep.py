"""What a server does from time to time: take out what has expired."""

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

from sync_server import hour_counts
from sync_server.store import Store

INTERVAL_S = 3600

_log = logging.getLogger(__name__)


class Upkeep:
    """A thread beside the requests; several workers may each have one."""

    def __init__(self, store: Store, interval_s: float = INTERVAL_S) -> None:
        self._store = store
        self._interval_s = interval_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep")
        self._thread.start()

    def close(self) -> None:
        """End the thread once what it is doing is done."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(self._interval_s):
            try:
                hour_counts.prune(self._store)
            except SQLAlchemyError as error:
                _log.error("upkeep is put off: %s", error)
