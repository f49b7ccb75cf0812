"""A replaying device whose connection is cut, against a real broker."""

import asyncio
from datetime import timedelta

import aiomqtt
from msgspec.structs import replace

from simulators.hosting import Registered
from simulators.hub_addresses import BrokerAddress
from simulators.link import LinkTally
from simulators.outcome import Played
from simulators.replay import Player, ReplayPace, ReplayTally
from simulators.series import time_of
from tests.simulators.test_link import ANYONE, READING, linked, overhearing, said
from tests.support.mosquitto import Mosquitto
from tests.support.waiting import eventually

LATER = replace(READING, time=time_of(READING) + timedelta(days=1), energy_wh=2000.0)


async def test_what_the_broker_took_lately_is_sent_again_on_the_next_connection(
    mosquitto: Mosquitto,
) -> None:
    broker, tally = BrokerAddress.of(mosquitto.url), ReplayTally()
    played = Played(Registered(ANYONE, broker), "unused", 5000.0, [READING, LATER])
    pace = ReplayPace(time_of(READING), speed=1, started_s=asyncio.get_running_loop().time())
    player = Player(played, pace, 1, tally)
    async with (
        overhearing(mosquitto.url) as heard,
        linked(broker, ANYONE, player.speak, LinkTally()),
    ):
        await eventually(lambda: said(heard).count(READING.energy_wh) == 1)
        await cut_off(mosquitto)
        await eventually(lambda: said(heard).count(READING.energy_wh) == 2)
    assert (played.sent, tally.readings) == (1, 1)


async def cut_off(mosquitto: Mosquitto) -> None:
    """Whoever comes under a device's client id ends its connection."""
    name = f"device-{ANYONE.device_id}"
    async with aiomqtt.Client("127.0.0.1", mosquitto.port, identifier=name):
        pass
