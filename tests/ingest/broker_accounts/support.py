"""Devices with accounts at a real Mosquitto: registered, connected and refused."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import aiomqtt
import pytest
from prometheus_client import CollectorRegistry

from core.device_passwords import hash_of, password_of
from core.settings import DatabaseSettings, IngestSettings, MqttSettings
from db.pool import Pool
from ingest.broker import BrokerEndpoint
from ingest.broker_accounts.dynamic_security import connect_plugin
from ingest.broker_accounts.sync import BrokerAccountSync
from ingest.metrics import IngestMetrics
from tests.support import people
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually

SECRET = b"of the test, and as long as one has to be"


async def register(pool: Pool, dialect: str = "native", external_id: str | None = None) -> UUID:
    """Register a device with a password derived from the secret."""
    device_id = await people.add_device(pool, await people.add_user(pool, "host"))
    await pool.execute(
        "UPDATE devices SET dialect = $2, external_id = $3, credential_hash = $4 WHERE id = $1",
        device_id, dialect, external_id, hash_of(password_of(SECRET, device_id, 1)),
    )  # fmt: skip
    return device_id


async def rotate(pool: Pool, device_id: UUID, version: int = 2) -> None:
    """Replace a device's password by that of another version."""
    await pool.execute(
        "UPDATE devices SET credential_version = $2, credential_hash = $3 WHERE id = $1",
        device_id, version, hash_of(password_of(SECRET, device_id, version)),
    )  # fmt: skip


async def delete(pool: Pool, device_id: UUID) -> None:
    await pool.execute("UPDATE devices SET deleted_at = now() WHERE id = $1", device_id)


async def set_active(pool: Pool, device_id: UUID, active: bool) -> None:
    """Lock the host of a device out, or readmit the host."""
    await pool.execute(
        "UPDATE users SET is_active = $2"
        " WHERE id = (SELECT owner_id FROM devices WHERE devices.id = $1)",
        device_id, active,
    )  # fmt: skip


@asynccontextmanager
async def synchronizing(
    mosquitto: Mosquitto, database: DatabaseSettings, **settings: object
) -> AsyncIterator[CollectorRegistry]:
    """Synchronize the accounts of this broker inside the block. Yields the metrics' registry."""
    registry = CollectorRegistry()
    sync = BrokerAccountSync(
        IngestSettings(mqtt_url=mosquitto.url, **settings),
        database, SECRET, IngestMetrics(registry),
    )  # fmt: skip
    task = asyncio.create_task(sync.run())
    try:
        yield registry
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def device_client(
    mosquitto: Mosquitto, device_id: UUID, version: int = 1, **options: object
) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1", mosquitto.port, username=str(device_id),
        password=password_of(SECRET, device_id, version), timeout=5, **options,
    )  # fmt: skip


def hub_client(mosquitto: Mosquitto) -> aiomqtt.Client:
    broker = BrokerEndpoint.of(MqttSettings(mqtt_url=mosquitto.url))
    return aiomqtt.Client(
        broker.host, broker.port, username=broker.username, password=broker.password,
        identifier=uuid4().hex, timeout=5,
    )  # fmt: skip


@asynccontextmanager
async def connected_device(
    mosquitto: Mosquitto, device_id: UUID, version: int = 1
) -> AsyncIterator[aiomqtt.Client]:
    """Connect a device as soon as the broker has its account."""

    async def connect() -> aiomqtt.Client | None:
        device = device_client(mosquitto, device_id, version)
        try:
            return await device.__aenter__()
        except aiomqtt.MqttError:
            return None

    device = await eventually(connect)
    assert device is not None
    try:
        yield device
    finally:
        with contextlib.suppress(aiomqtt.MqttError):
            await device.__aexit__(None, None, None)


async def can_connect(mosquitto: Mosquitto, device_id: UUID, version: int = 1) -> None:
    """Wait until the broker accepts a device."""
    async with connected_device(mosquitto, device_id, version):
        pass


async def is_refused(mosquitto: Mosquitto, device_id: UUID, version: int = 1) -> bool:
    """Connect once, and return whether the broker rejects the credentials."""
    try:
        async with device_client(mosquitto, device_id, version):
            return False
    except aiomqtt.MqttError as error:
        return "Not authorized" in str(error)


async def is_disconnected(device: aiomqtt.Client) -> None:
    """Wait until the broker ends this connection."""
    async with asyncio.timeout(10):
        with pytest.raises(aiomqtt.MqttError):
            async for _ in device.messages:
                pass


async def account_names(mosquitto: Mosquitto) -> set[str]:
    """Return the user names of all accounts but the hub's."""
    async with connect_plugin(
        BrokerEndpoint.of(MqttSettings(mqtt_url=mosquitto.url)), uuid4().hex, 10
    ) as plugin:
        return set((await plugin.list_accounts()).marks) - {"hub"}


async def delivered_topics(
    mosquitto: Mosquitto, device: aiomqtt.Client, topics: list[str]
) -> list[str]:
    """Publish to these topics as a device, and return those that reach the hub."""
    async with hub_client(mosquitto) as subscriber:
        await subscriber.subscribe("#", qos=1)
        for topic in topics:
            await device.publish(topic, "marked", qos=1)
        messages = await received_messages(subscriber)
        return [m.topic.value for m in messages if m.payload == b"marked"]


async def received_messages(subscriber: aiomqtt.Client) -> list[aiomqtt.Message]:
    """Return all messages that arrived before this call."""
    await subscriber.publish("solar/last/ack", qos=1)
    messages: list[aiomqtt.Message] = []
    async with asyncio.timeout(10):
        async for message in subscriber.messages:
            if message.topic.value == "solar/last/ack":
                return messages
            messages.append(message)
    raise AssertionError("the connection was lost")
