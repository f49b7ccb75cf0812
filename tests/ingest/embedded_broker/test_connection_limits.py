"""Limits of the embedded broker on connections, and which are evicted."""

import sys
from uuid import UUID, uuid4

import psutil
import pytest

from db.pool import Pool
from tests.ingest.embedded_broker.limited_broker import limited
from tests.support.people import DEVICE_PASSWORD, add_device, add_user
from tests.support.raw_mqtt import (
    PUBACK,
    PUBLISH,
    UNAVAILABLE,
    RawClient,
    connect,
    publish,
    raw,
    telemetry,
)
from tests.support.waiting import eventually

needs_addresses = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8"
)


@pytest.fixture
async def device_id(pool: Pool) -> UUID:
    return await add_device(pool, await add_user(pool, "host"))


@needs_addresses
async def test_the_oldest_connection_of_an_address_that_has_not_signed_in_is_evicted(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, pending_per_address_max=3) as broker, raw(broker.port) as signed_in:
        await signed_in.connected(connect(device_id, DEVICE_PASSWORD))
        idle = [await RawClient.open(broker.port) for _ in range(3)]
        elsewhere = await RawClient.open(broker.port, "127.0.0.2")
        async with raw(broker.port) as device:
            await device.connected(connect(device_id, DEVICE_PASSWORD, client_id="other"))
        assert await idle[0].closed()
        assert await signed_in.answers()
        for client in (*idle[1:], elsewhere):
            await client.connected(connect(device_id, DEVICE_PASSWORD, client_id=uuid4().hex))
        for client in (*idle, elsewhere):
            client.abort()


@needs_addresses
async def test_connections_that_have_not_signed_in_are_evicted_when_all_are_in_use(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, connections_max=4) as broker, raw(broker.port) as signed_in:
        await signed_in.connected(connect(device_id, DEVICE_PASSWORD))
        one = await RawClient.open(broker.port, "127.0.0.2")
        idle_clients = [await RawClient.open(broker.port, "127.0.0.3") for _ in range(2)]
        async with raw(broker.port) as device:
            await device.connected(connect(device_id, DEVICE_PASSWORD, client_id="other"))
            assert await idle_clients[0].closed()
            assert await signed_in.answers()
        for client in (one, *idle_clients):
            client.abort()


async def test_a_connection_over_the_limit_is_refused_if_all_others_are_signed_in(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool, connections_per_address_max=2) as broker:
        devices = [await RawClient.open(broker.port) for _ in range(2)]
        for number, device in enumerate(devices):
            await device.connected(connect(device_id, DEVICE_PASSWORD, client_id=str(number)))
        async with raw(broker.port) as surplus:
            assert await surplus.receive() is None
        devices.pop().abort()

        async def there_is_room() -> bool:
            async with raw(broker.port) as device:
                device.send(connect(device_id, DEVICE_PASSWORD, client_id="1"))
                return await device.receive() is not None

        assert await eventually(there_is_room)
        assert await devices[0].answers()
        devices[0].abort()


async def test_many_connections_that_do_not_sign_in_do_not_keep_a_device_out(
    pool: Pool, device_id: UUID
) -> None:
    async with limited(pool) as broker:
        idle_clients = [await RawClient.open(broker.port) for _ in range(300)]
        for idle_client in idle_clients:
            idle_client.send(connect(device_id, DEVICE_PASSWORD)[:-1])
        async with raw(broker.port) as device:
            await device.connected(connect(device_id, DEVICE_PASSWORD))
            assert await device.answers()
        for idle_client in idle_clients:
            idle_client.abort()


async def test_only_the_listener_opens_a_port(pool: Pool) -> None:
    def listening() -> set[int]:
        connections = psutil.Process().net_connections()
        return {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}

    before = listening()
    async with limited(pool) as broker:
        assert listening() - before == {broker.port}


async def test_devices_can_sign_in_once_the_hub_has_subscribed(pool: Pool, device_id: UUID) -> None:
    async with limited(pool, hub_first=True) as broker, raw(broker.port) as hub:
        signing_in = connect(device_id, DEVICE_PASSWORD)
        async with raw(broker.port) as device:
            assert await device.refused(signing_in) == UNAVAILABLE
        await hub.connected(connect("hub", broker.hub_password, clean=False))
        async with raw(broker.port) as device:
            assert await device.refused(signing_in) == UNAVAILABLE
        await hub.subscribed("solar/+/telemetry")
        async with raw(broker.port) as device:
            await device.connected(signing_in)
            device.send(publish(telemetry(device_id)))
            await device.expect(PUBACK)
        assert (await hub.expect(PUBLISH)).topic == telemetry(device_id)
