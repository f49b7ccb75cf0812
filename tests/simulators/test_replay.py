"""A replay whose connection is cut, against a real broker."""

import asyncio
from datetime import timedelta

import aiomqtt
from msgspec.structs import replace

from simulators.device_connection import ConnectionTally
from simulators.hub_client import BrokerAddress
from simulators.registration import RegisteredDevice
from simulators.replay import ReplayPublisher, ReplaySchedule, ReplayTally
from simulators.replay_outcome import ReplayedDevice
from simulators.series import time_of
from tests.simulators.test_device_connection import (
    ANYONE,
    READING,
    connected,
    subscribed,
    values,
)
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually

LATER = replace(READING, time=time_of(READING) + timedelta(days=1), energy_wh=2000.0)


async def test_recently_acknowledged_readings_are_sent_again_after_a_reconnection(
    mosquitto: Mosquitto,
) -> None:
    broker, tally = BrokerAddress.of(mosquitto.url), ReplayTally()
    device = ReplayedDevice(RegisteredDevice(ANYONE, broker), "unused", 5000.0, [READING, LATER])
    now_s = asyncio.get_running_loop().time()
    schedule = ReplaySchedule(time_of(READING), speed=1, started_s=now_s)
    publisher = ReplayPublisher(device, schedule, 1, tally)
    async with (
        subscribed(mosquitto.url) as received,
        connected(broker, ANYONE, publisher.publish, ConnectionTally()),
    ):
        await eventually(lambda: values(received).count(READING.energy_wh) == 1)
        await cut_connection(mosquitto)
        await eventually(lambda: values(received).count(READING.energy_wh) == 2)
    assert (device.sent, tally.readings) == (1, 1)


async def cut_connection(mosquitto: Mosquitto) -> None:
    """Connect with the device's client id: the broker closes the older connection."""
    name = f"device-{ANYONE.device_id}"
    async with aiomqtt.Client("127.0.0.1", mosquitto.port, identifier=name):
        pass
