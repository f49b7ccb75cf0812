"""Tests of the helpers of tests."""

import asyncio
import subprocess
import sys
from decimal import Decimal

import aiomqtt
import pytest

from db.pool import Connection
from tests.support import people, ports
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually


async def test_mosquitto_keeps_its_queue_when_it_is_killed(mosquitto: Mosquitto) -> None:
    def reader() -> aiomqtt.Client:
        return aiomqtt.Client(
            "127.0.0.1", mosquitto.port, identifier="reader", clean_session=False, timeout=5
        )

    async with reader() as client:
        await client.subscribe("queue", qos=1)
    async with aiomqtt.Client("127.0.0.1", mosquitto.port, timeout=5) as client:
        await client.publish("queue", "kept", qos=1)
    await eventually(lambda: b"kept" in mosquitto.saved())
    mosquitto.kill()
    mosquitto.start()
    async with reader() as client, asyncio.timeout(10):
        message = await anext(aiter(client.messages))
    assert message.payload == b"kept"


async def test_waiting_ends_with_the_reason() -> None:
    def holds() -> bool:
        assert 1 == 2, "not yet"
        return True

    with pytest.raises(AssertionError, match="not yet"):
        await eventually(holds, within_s=0.05)


async def test_people_sell_what_their_devices_measure(conn: Connection) -> None:
    seller = await people.add_user(conn, "host")
    buyer = await people.add_user(conn, "buyer", balance=100)
    device_id = await people.add_device(conn, seller)
    await people.add_listing(conn, seller, device_id=device_id, kwh=0)
    await people.add_listing(conn, seller, kwh=Decimal("2.5"))
    balance = await conn.fetchval("SELECT balance FROM wallets WHERE user_id = $1", buyer.id)
    assert balance == 100


def test_a_free_port_is_reserved_for_its_process() -> None:
    drawn = {ports.free() for _ in range(20)}
    assert len(drawn) == 20
    other = f"from tests.support import ports; print(*map(ports._reserve, {sorted(drawn)}))"
    printed = subprocess.run(
        [sys.executable, "-c", other], capture_output=True, text=True, check=True
    ).stdout
    assert set(printed.split()) == {"False"}
