"""The relay between a real store and a real NATS JetStream: killed, doubled, without its broker."""

import asyncio
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec
import nats
import pytest
from nats.js.errors import NotFoundError

from contracts.errors import ConfigError
from contracts.outbox import ID_HEADER, STREAM, SUBJECT, ProfileChanged
from sync_server import brokers, outbox
from sync_server.relay import BATCH, Relay
from sync_server.sql_store import open_store
from sync_server.turn import take_turn

PATIENCE_S = 30


class NatsServer:
    """The real one, with JetStream on the disk, which can be killed and started again at the same address."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"nats://127.0.0.1:{port}"
        self._port = port
        binary = Path(sysconfig.get_path("scripts")) / "nats-server"
        self._command = [binary, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder, "-l", f"{folder}.log"]

    def start(self) -> None:
        self.process = subprocess.Popen(self._command)
        until(self._takes_connections)

    def _takes_connections(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=PATIENCE_S)

    def held(self):
        """The messages in the stream, oldest first: id and content."""

        async def read():
            connection = await nats.connect(self.url, allow_reconnect=False)
            stream, last = connection.jetstream(), 0
            with suppress(NotFoundError):
                last = (await stream.stream_info(STREAM)).state.last_seq
            found = [await stream.get_msg(STREAM, number) for number in range(1, last + 1)]
            await connection.close()
            return [(one.headers[ID_HEADER], msgspec.json.decode(one.data)) for one in found]

        return asyncio.run(read())


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.02)


class Relayed:
    """A store with an outbox, a broker, and relay processes between them."""

    def __init__(self, world, broker: NatsServer, folder: Path) -> None:
        self.broker = broker
        self.store = open_store(world.settings.database_url, keys=world.settings.keys, publishes=True)
        self.settings = folder / "relay.json"
        self.settings.write_bytes(msgspec.json.encode(msgspec.structs.replace(world.settings, broker=broker.url)))
        self.processes, self.threads, self.stop_running = [], [], []
        self.told = 0

    def start(self):
        command = [sys.executable, "-m", "sync_server", "--settings", str(self.settings), "relay"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        assert process.stdout.readline() == f"pocketrec relay to {self.broker.url}\n"
        return process

    def run(self):
        """Another relay, in this process."""
        connect = partial(brokers.publisher, self.broker.url, kept_days=1)

        async def until_stopped():
            stopping, loop = asyncio.Event(), asyncio.get_running_loop()
            self.stop_running.append(lambda: loop.call_soon_threadsafe(stopping.set))
            await Relay(self.store, connect, kept_days=1).run(stopping)

        self.threads.append(threading.Thread(target=asyncio.run, args=(until_stopped(),)))
        self.threads[-1].start()

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait(timeout=PATIENCE_S)
        for stop in self.stop_running:
            stop()
        for thread in self.threads:
            thread.join(timeout=PATIENCE_S)
        self.store.close()

    def tell(self, count, handles=3):
        with take_turn(self.store) as turn:
            for number in range(self.told, self.told + count):  # one by one: a person's messages stay several
                outbox.add(turn, [ProfileChanged(handle=f"h{number % handles}", version=turn.stamp, at=number)])
        self.told += count

    def expected(self):
        return [f"{self.store.generation}-{number}" for number in range(1, self.told + 1)]

    def arrived(self):
        return [message_id for message_id, _ in self.broker.held()]

    def waiting(self):
        with self.store.read() as connection:
            return outbox.waiting(connection, 0).messages


@pytest.fixture
def nats_server(tmp_path, unused_tcp_port):
    server = NatsServer(tmp_path / "nats", unused_tcp_port)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def relayed(world, nats_server, tmp_path):
    made = Relayed(world, nats_server, tmp_path)
    yield made
    made.close()


def test_everything_arrives_once_and_each_persons_in_order_then_the_relay_ends_as_asked(relayed):
    relayed.tell(BATCH + 50, handles=BATCH)
    process = relayed.start()
    until(lambda: relayed.waiting() == 0)
    relayed.tell(20)
    until(lambda: relayed.waiting() == 0)
    held = relayed.broker.held()
    assert sorted(message_id for message_id, _ in held) == sorted(relayed.expected())
    for handle in {message["handle"] for _, message in held}:
        own = [message["at"] for _, message in held if message["handle"] == handle]
        assert own == sorted(own)
    assert {message["kind"] for _, message in held} == {"profile_changed"}
    process.terminate()
    assert process.wait(timeout=PATIENCE_S) == 0


@contextmanager
def listening(broker: NatsServer):
    """The ids of all that passes the subject, also of what the stream drops because it holds it."""
    heard, listens, enough = [], threading.Event(), threading.Event()

    async def listen():
        connection = await nats.connect(broker.url)

        async def hear(message):
            heard.append(message.headers[ID_HEADER])

        await connection.subscribe(SUBJECT, cb=hear)
        await connection.flush()
        listens.set()
        await asyncio.to_thread(enough.wait)
        await connection.close()

    thread = threading.Thread(target=asyncio.run, args=(listen(),))
    thread.start()
    assert listens.wait(timeout=PATIENCE_S)
    try:
        yield heard
    finally:
        enough.set()
        thread.join(timeout=PATIENCE_S)


def test_a_relay_killed_between_publishing_and_marking_sends_again_with_the_same_ids(relayed):
    relayed.broker.kill()
    process = relayed.start()
    relayed.tell(5, handles=2)
    with relayed.store.write():  # the turn is ours: the relay publishes, and cannot mark
        relayed.broker.start()
        until(lambda: relayed.arrived() == relayed.expected())
        process.kill()
        process.wait(timeout=PATIENCE_S)
    assert relayed.waiting() == 5
    with listening(relayed.broker) as heard:
        relayed.run()
        until(lambda: heard == relayed.expected())
    until(lambda: relayed.waiting() == 0)
    assert relayed.arrived() == relayed.expected()  # JetStream knew the ids


def test_a_broker_that_dies_and_comes_back_misses_nothing(relayed):
    relayed.tell(10)
    relayed.run()
    until(lambda: relayed.waiting() == 0)
    relayed.broker.kill()
    relayed.tell(10)
    assert relayed.waiting() == 10
    relayed.broker.start()
    until(lambda: relayed.waiting() == 0)
    assert relayed.arrived() == relayed.expected()


def test_two_relays_take_turns_and_the_second_goes_on_where_the_first_died(relayed):
    first = relayed.start()
    relayed.run()
    relayed.tell(10)
    until(lambda: relayed.waiting() == 0)
    first.kill()
    first.wait(timeout=PATIENCE_S)
    relayed.tell(10)
    until(lambda: relayed.waiting() == 0)
    assert relayed.arrived() == relayed.expected()


def test_only_one_holds_a_name(relayed, world):
    other = open_store(world.settings.database_url, keys=world.settings.keys)
    with relayed.store.alone("relay") as first, other.alone("relay") as second, other.alone("another") as third:
        assert (first, second, third) == (True, False, True)
    with other.alone("relay") as again:
        assert again
    other.close()


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("nats://127.0.0.1:4222", brokers.Nats),
        ("tls://user:secret@127.0.0.1:4222", brokers.Nats),
        ("amqp://user:secret@127.0.0.1/shop", brokers.RabbitMq),
        ("amqps://127.0.0.1/", brokers.RabbitMq),
        ("kafka://127.0.0.1:9092,127.0.0.2:9092", brokers.Kafka),
        ("kafkas://user:secret@127.0.0.1:9092", brokers.Kafka),
    ],
)
def test_brokers_are_chosen_by_their_address(url, kind):
    async def made():
        return brokers.publisher(url, kept_days=1)

    assert isinstance(asyncio.run(made()), kind)
    assert "secret" not in brokers.shown(url)


def test_an_unknown_broker_is_refused_without_its_password():
    with pytest.raises(ConfigError, match="nats://") as caught:
        brokers.publisher("mqtt://user:secret@127.0.0.1", kept_days=1)
    assert "secret" not in str(caught.value)


def test_a_relay_without_a_broker_says_what_to_do(world, tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_bytes(msgspec.json.encode(world.settings))
    command = [sys.executable, "-m", "sync_server", "--settings", str(settings), "relay"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ended.returncode == 2
    assert '"broker"' in ended.stderr
