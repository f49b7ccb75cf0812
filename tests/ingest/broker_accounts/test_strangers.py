"""Attacks of unauthenticated clients on a Mosquitto configured by `deploy/mosquitto`."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from core.device_passwords import password_of
from core.settings import DatabaseSettings
from db.pool import Pool
from tests.ingest.broker_accounts.support import (
    SECRET,
    can_connect,
    hub_client,
    register,
    synchronizing,
)
from tests.support.mosquitto import SecuredMosquitto
from tests.support.raw_mqtt import (
    NOT_AUTHORIZED,
    PUBACK,
    PUBLISH,
    Will,
    connect,
    publish,
    raw,
    telemetry,
)


@pytest.fixture
async def device_id(
    secured: SecuredMosquitto, pool: Pool, database: DatabaseSettings
) -> AsyncIterator[UUID]:
    """Return a device that has an account at the broker."""
    async with synchronizing(secured, database):
        device_id = await register(pool)
        await can_connect(secured, device_id)
        yield device_id


def connect_packet(device_id: UUID, **options: object) -> bytes:
    return connect(device_id, password_of(SECRET, device_id, 1), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("clean", [True, False])
async def test_a_connect_with_a_wrong_password_changes_nothing_of_a_session(
    secured: SecuredMosquitto, device_id: UUID, clean: bool
) -> None:
    ack = f"solar/{device_id}/ack"
    will = Will(f"solar/{device_id}/status", b"mine")
    async with raw(secured.port) as device:
        await device.connected(connect_packet(device_id, clean=False, will=will))
        await device.subscribed(ack)
        for username in (device_id, "hub", uuid4()):
            async with raw(secured.port) as stranger:
                attack = connect(username, "wrong", client_id=str(device_id), clean=clean)
                assert await stranger.refused(attack) == NOT_AUTHORIZED
        async with hub_client(secured) as writer:
            await writer.publish(ack, "still yours", qos=1)
        assert (await device.expect(PUBLISH)).payload == b"still yours"


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("topic", ["solar/+/telemetry", "solar/#"])
async def test_a_publish_with_wildcards_ends_the_connection(
    secured: SecuredMosquitto, device_id: UUID, topic: str, qos: int
) -> None:
    async with raw(secured.port) as device:
        await device.connected(connect_packet(device_id))
        device.send(publish(topic, qos=qos))
        assert await device.closed()


async def test_a_packet_that_is_too_large_ends_the_connection(
    secured: SecuredMosquitto, device_id: UUID
) -> None:
    async with raw(secured.port) as device:
        await device.connected(connect_packet(device_id))
        device.send(publish(telemetry(device_id), bytes(1024 * 1024 + 1)))
        await device.expect(PUBACK)
        device.send(publish(telemetry(device_id), bytes(3 * 1024 * 1024))[:100])
        assert await device.receive() is None


async def test_a_connect_that_is_too_large_ends_the_connection(secured: SecuredMosquitto) -> None:
    async with raw(secured.port) as stranger:
        stranger.send(b"\x10\xff\xff\xff\x7f", connect("user", "password")[2:])
        assert await stranger.receive() is None


async def test_half_a_packet_does_not_keep_a_connection_alive(
    secured: SecuredMosquitto, device_id: UUID
) -> None:
    async with raw(secured.port) as device:
        await device.connected(connect_packet(device_id, keep_alive_s=1))
        device.send(publish(telemetry(device_id))[:-1])
        assert await device.closed(10)
