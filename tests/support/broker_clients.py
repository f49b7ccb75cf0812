"""Clients of the embedded broker: devices, and the hub that receives their messages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt

from tests.conftest import Broker

_LAST = "solar/last/telemetry"


def client(
    broker: Broker, username: object, password: str, will: aiomqtt.Will | None = None
) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1", broker.port, username=str(username), password=password, timeout=5, will=will
    )


def hub(broker: Broker) -> aiomqtt.Client:
    return client(broker, "hub", broker.hub_password)


@asynccontextmanager
async def received_topics(broker: Broker, topic: str) -> AsyncIterator[list[str]]:
    """Yield a list of topics that the hub receives, complete once the block has ended."""
    async with received(broker, topic) as messages:
        yield (topics := [])
    topics += [name for name, _ in messages]


@asynccontextmanager
async def received(broker: Broker, topic: str) -> AsyncIterator[list[tuple[str, bytes]]]:
    """Yield a list of topics and payloads that the hub receives, complete after the block."""
    async with hub(broker) as reader:
        await reader.subscribe(topic, qos=1)
        yield (messages := [])
        async with hub(broker) as writer:
            await writer.publish(_LAST, qos=1)
        async for message in reader.messages:
            if message.topic.value == _LAST:
                break
            messages.append((message.topic.value, bytes(message.payload or b"")))
