"""Brokers by URL, through FastStream: NATS JetStream, RabbitMQ, Kafka. A publish ends when the broker has the message.

None of them reconnects by itself: the relay closes what failed and makes another; one place decides when to try.
"""

import ssl
from typing import Any, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from contracts.errors import ConfigError
from contracts.outbox import ID_HEADER, STREAM, SUBJECT

TIMEOUT_S = 5  # without an acknowledgement a message counts as not published
HEADERS: dict[str, Any] = {"content-type": "application/json"}


class Publisher(Protocol):
    """A connection to a broker: opened once, used, closed; who wants another makes another."""

    async def open(self) -> None: ...

    async def publish(self, body: bytes, handle: str, message_id: str) -> None:
        """Hand over a message about a person; it is in the broker's keeping when this returns."""

    async def close(self) -> None: ...


class Nats:
    """JetStream, in the stream `STREAM`; one that is there already keeps the limits that its operator gave it."""

    def __init__(self, url: str, kept_days: int) -> None:
        from faststream.nats import NatsBroker

        self._broker = NatsBroker(
            url, allow_reconnect=False, max_reconnect_attempts=1, reconnect_time_wait=0, logger=None
        )
        self._kept_s = kept_days * 86_400

    async def open(self) -> None:
        from nats.js.api import StreamConfig
        from nats.js.errors import NotFoundError

        stream = (await self._broker.connect()).jetstream()
        try:
            await stream.stream_info(STREAM)
        except NotFoundError:
            await stream.add_stream(StreamConfig(name=STREAM, subjects=[SUBJECT], max_age=self._kept_s))

    async def publish(self, body: bytes, handle: str, message_id: str) -> None:
        headers = HEADERS | {ID_HEADER: message_id}
        await self._broker.publish(body, SUBJECT, stream=STREAM, headers=headers, timeout=TIMEOUT_S)

    async def close(self) -> None:
        await self._broker.stop()


class RabbitMq:
    """A durable fanout exchange; a message that no queue takes is not published, and waits until there is one."""

    def __init__(self, url: str, kept_days: int) -> None:
        from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange

        self._broker = RabbitBroker(url, default_channel=Channel(on_return_raises=True), logger=None)
        self._exchange = RabbitExchange(SUBJECT, type=ExchangeType.FANOUT, durable=True)

    async def open(self) -> None:
        await self._broker.connect()
        await self._broker.declare_exchange(self._exchange)

    async def publish(self, body: bytes, handle: str, message_id: str) -> None:
        headers = HEADERS | {ID_HEADER: message_id}
        await self._broker.publish(
            body, exchange=self._exchange, headers=headers, message_id=message_id, persist=True, timeout=TIMEOUT_S
        )

    async def close(self) -> None:
        await self._broker.stop()


class Kafka:
    """A topic, partitioned by person, so that each partition keeps the order of its people."""

    def __init__(self, url: str, kept_days: int) -> None:
        from faststream.kafka import KafkaBroker

        parts = urlsplit(url)
        servers = parts.netloc.rpartition("@")[2].split(",")
        self._broker = KafkaBroker(
            servers,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=TIMEOUT_S * 1000,
            security=_kafka_security(parts),
            logger=None,
        )

    async def open(self) -> None:
        await self._broker.start()

    async def publish(self, body: bytes, handle: str, message_id: str) -> None:
        headers = HEADERS | {ID_HEADER: message_id}
        await self._broker.publish(body, SUBJECT, key=handle.encode(), headers=headers)

    async def close(self) -> None:
        await self._broker.stop()


_KINDS: dict[str, type[Nats] | type[RabbitMq] | type[Kafka]] = {
    "nats": Nats,
    "tls": Nats,  # NATS's own name for itself over TLS
    "amqp": RabbitMq,
    "amqps": RabbitMq,
    "kafka": Kafka,
    "kafkas": Kafka,
}


def publisher(url: str, kept_days: int) -> Publisher:
    """What speaks to the broker of an address; nothing is connected yet.

    Args:
        url: such as `nats://host:4222`, `amqp://user:password@host/` or `kafka://host:9092,host:9092`; `tls`, `amqps`
            and `kafkas` are the same over TLS.
        kept_days: how long the broker keeps messages, where it asks us.

    Raises:
        ConfigError: if the address names no broker that is known, or its client is not installed.
    """
    kind = urlsplit(url).scheme
    if kind not in _KINDS:
        known = ", ".join(f"{name}://" for name in _KINDS)
        raise ConfigError(f"broker {shown(url)!r} is not known: use an address that starts with one of {known}")
    try:
        return _KINDS[kind](url, kept_days)
    except ImportError as error:
        raise ConfigError(f"broker {shown(url)} needs {error.name}: install pocketrec[broker]") from None


def shown(url: str) -> str:
    """An address without its password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _kafka_security(parts: SplitResult) -> Any:
    from faststream.security import BaseSecurity, SASLPlaintext

    tls = parts.scheme == "kafkas"
    context = ssl.create_default_context() if tls else None
    if parts.username is None:
        return BaseSecurity(ssl_context=context, use_ssl=tls)
    password = unquote(parts.password or "")
    return SASLPlaintext(unquote(parts.username), password, ssl_context=context, use_ssl=tls)
