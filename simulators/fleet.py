"""A fleet of homes: each measures itself and publishes over MQTT with its own credentials."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from simulators.homes import Dwelling, dwelling, move_in
from simulators.hub_client import open_hub
from simulators.link import Line, Links, LinkTally
from simulators.native import MESSAGE_MAX_READINGS
from simulators.outgoing import Outgoing
from simulators.residents import Resident, Residents
from simulators.sun import Sky, SunClock, local_hour
from simulators.together import together
from simulators.whereabouts import Whereabouts

_SAVE_EVERY_S = 20.0
_JITTER = 0.2

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """`sun_hour`: at which hour of the day the simulated sun starts; None: as it is now."""

    count: int
    rate_hz: float
    duration_s: float | None = None
    sun_hour: float | None = None
    sun_speed: float = 1.0
    seed: int = 1


@dataclass(slots=True)
class FleetTally:
    """What the fleet has done so far; its owner may read it at any time."""

    registered: int = 0
    readings: int = 0
    links: LinkTally = field(default_factory=LinkTally)


async def run(
    plan: FleetPlan,
    hub: Whereabouts,
    remembered_in: Path,
    tally: FleetTally,
    *,
    now: Clock = utc_now,
) -> None:
    """Settle the homes, then let them publish until the time is up or it is cancelled.

    Raises HubError when the hub does not take them.
    """
    sky, sun = Sky(plan.seed), SunClock.starting(now(), hour=plan.sun_hour, speed=plan.sun_speed)
    dwellings = [dwelling(plan.seed, index) for index in range(plan.count)]
    roofs = {home.roof for home in dwellings}
    async with open_hub(hub.api_url) as client:
        residents = Residents(client, remembered_in)
        await together(
            [
                residents.settle(dwellings, now()),
                asyncio.to_thread(sky.prepare, roofs, sun.at(now())),
            ]
        )
    tally.registered = len(residents.settled)
    try:
        await _publish(plan, hub, residents, _Weather(sky, sun, now), tally)
    finally:
        residents.save()


@dataclass(frozen=True, slots=True)
class _Weather:
    """What a home sees of the outside: the time, and the sun on its roof."""

    sky: Sky
    sun: SunClock
    now: Clock

    def power_w(self, home: Dwelling, at: datetime) -> float:
        return home.capacity_w * self.sky.power_w_per_w(home.roof, self.sun.at(at))

    def hour(self, at: datetime) -> float:
        return local_hour(self.sun.at(at))


async def _publish(
    plan: FleetPlan,
    hub: Whereabouts,
    residents: Residents,
    weather: _Weather,
    tally: FleetTally,
) -> None:
    chance = Random(plan.seed)
    links = Links(hub.broker or residents.settled[0].registered.broker, chance, tally.links)
    try:
        async with asyncio.timeout(plan.duration_s) as limit, asyncio.TaskGroup() as tasks:
            tasks.create_task(_save_often(residents))
            for resident in residents.settled:
                device = _Device(resident, weather, links, 1 / plan.rate_hz, chance, tally)
                tasks.create_task(device.run())
    except TimeoutError:
        if not limit.expired():
            raise


async def _save_often(residents: Residents) -> None:
    """So that the meters of a fleet that is killed go on almost where they were."""
    while True:
        await asyncio.sleep(_SAVE_EVERY_S)
        residents.save()


class _Device:
    """Measures at its own pace. What can't be sent waits, up to one message full of readings."""

    def __init__(
        self,
        resident: Resident,
        weather: _Weather,
        links: Links,
        period_s: float,
        chance: Random,
        tally: FleetTally,
    ) -> None:
        self._dwelling = resident.dwelling
        self._credentials = resident.registered.credentials
        self._home = move_in(resident.dwelling, resident.meters, weather.now())
        self._weather = weather
        self._links = links
        self._period_s = period_s
        self._chance = chance
        self._tally = tally
        self._outgoing = Outgoing(waiting_max=MESSAGE_MAX_READINGS)
        self._measured = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._measure())
            tasks.create_task(self._links.run(self._credentials, self._speak))

    async def _measure(self) -> None:
        await asyncio.sleep(self._chance.uniform(0, self._period_s))
        while True:
            at = self._weather.now()
            power_w = self._weather.power_w(self._dwelling, at)
            hour = self._weather.hour(at)
            reading = self._home.measure(at, power_w=power_w, hour=hour)
            self._outgoing.add(reading)
            self._measured.set()
            await asyncio.sleep(self._period_s * self._chance.uniform(1 - _JITTER, 1 + _JITTER))

    async def _speak(self, line: Line) -> None:
        self._outgoing.connected_anew()
        while True:
            while self._outgoing:
                await self._send(line)
            self._measured.clear()
            await self._measured.wait()

    async def _send(self, line: Line) -> None:
        """Send what waits; it goes on waiting when the line is lost meanwhile."""
        readings = self._outgoing.ahead(MESSAGE_MAX_READINGS)
        await line.send(readings)
        self._outgoing.taken(len(readings))
        self._tally.readings += len(readings)
