"""Requests that wait for their turn share one transaction.

A commit waits for the disk, and every statement for the database; what arrives meanwhile goes into the next transaction
together. Alone, a request waits for nobody.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence

from contracts.errors import InputError
from contracts.sync import SyncResponse
from sync_server.sync import Prepared

MAX_EVENTS_TOGETHER = 4_000  # of one transaction: some 100 ms, so that nobody waits long behind a crowd

Answer = SyncResponse | InputError
_Waiting = tuple[Prepared, asyncio.Future[SyncResponse]]


class GroupCommit:
    """A thread that takes turns for all requests of a process."""

    def __init__(self, take: Callable[[Sequence[Prepared]], list[Answer]]) -> None:
        """Start it.

        Args:
            take: `sync_server.sync.sync_together` over a store.
        """
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._arrived = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="group-commit")
        self._thread.start()

    async def sync(self, prepared: Prepared) -> SyncResponse:
        """The answer to a request; what it says is durable.

        Raises:
            InputError: if the request cannot be taken.
        """
        future: asyncio.Future[SyncResponse] = self._loop.create_future()
        with self._arrived:
            self._waiting.append((prepared, future))
            self._arrived.notify()
        return await future

    def close(self) -> None:
        """End the thread once everything that waits has been answered."""
        with self._arrived:
            self._closed = True
            self._arrived.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._next_group():
            answers = self._answers([prepared for prepared, _ in group])
            futures = [future for _, future in group]
            self._loop.call_soon_threadsafe(_settle, futures, answers)

    def _next_group(self) -> list[_Waiting]:
        """Who goes together: as they came, each device once, and not too many events. Empty once closed."""
        group: list[_Waiting] = []
        devices: set[str] = set()
        events = 0
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting or self._closed)
            later: deque[_Waiting] = deque()
            while self._waiting and events < MAX_EVENTS_TOGETHER:
                prepared, future = self._waiting.popleft()
                if prepared.device_id in devices:
                    later.append((prepared, future))
                    continue
                group.append((prepared, future))
                devices.add(prepared.device_id)
                events += len(prepared.received)
            self._waiting.extendleft(reversed(later))
        return group

    def _answers(self, group: list[Prepared]) -> list[Answer | Exception]:
        """Of a group; where it fails as a whole, each is tried alone, so that only who is to blame fails."""
        try:
            return list(self._take(group))
        except Exception as error:
            if len(group) == 1:
                return [error]
        return [answer for one in group for answer in self._answers([one])]


def _settle(futures: Sequence[asyncio.Future[SyncResponse]], answers: Sequence[Answer | Exception]) -> None:
    for future, answer in zip(futures, answers, strict=True):
        if future.cancelled():  # whoever asked has gone; what they sent is taken all the same
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
