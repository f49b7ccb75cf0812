"""A fleet of homes: each measures itself and publishes over MQTT with its own credentials."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from core.dialects import Dialect
from simulators.administering import Administrator
from simulators.backfill import Backfill, moments
from simulators.faults import FaultPlan
from simulators.gather_or_raise import gather_or_raise
from simulators.homes import dwelling
from simulators.hub_addresses import HubAddresses
from simulators.hub_client import UserAccount, open_hub
from simulators.link import Line, Links, LinkTally
from simulators.native import MESSAGE_MAX_READINGS
from simulators.residents import Residents
from simulators.send_queue import SendQueue
from simulators.send_queue_faults import FaultySendQueue
from simulators.station import Clock, Station, Weather
from simulators.sun import Sky, SunClock

_SAVE_EVERY_S = 20.0
_JITTER = 0.2
_LEAVES_WITHIN_S = 10.0


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """`sun_hour`: at which hour of the day the simulated sun starts; None: as it is now.

    `backfill`: measure so much of the past as fast as the broker takes it, up to `batch` readings a
    message, and end. `speed`: clocks run so fast, from so long ago that they are right when
    `duration_s` is over. `faults`: what goes wrong, and the truth is kept beside it.
    `dialects`: what homes speak, one after the other.
    """

    count: int
    rate_hz: float
    duration_s: float | None = None
    sun_hour: float | None = None
    sun_speed: float = 1.0
    seed: int = 1
    faults: FaultPlan | None = None
    backfill: timedelta | None = None
    batch: int = 1
    dialects: Sequence[Dialect] = (Dialect.NATIVE,)
    speed: float = 1.0

    @property
    def past(self) -> timedelta:
        """For how long before its start it measures."""
        hastened_s = (self.duration_s or 0) * (self.speed - 1)
        return self.backfill or timedelta(seconds=max(0.0, hastened_s))


@dataclass(slots=True)
class FleetTally:
    """What the fleet has done so far; its owner may read it at any time."""

    registered: int = 0
    readings: int = 0
    links: LinkTally = field(default_factory=LinkTally)
    stations: Sequence[Station] = ()
    owners: Sequence[UserAccount] = ()

    def sent(self, readings: int) -> None:
        self.readings += readings


async def run(
    plan: FleetPlan,
    hub: HubAddresses,
    remembered_in: Path | None,
    tally: FleetTally,
    *,
    now: Clock = utc_now,
) -> None:
    """Settle the homes, then let them publish until the time is up or it is cancelled.

    Raises HubError when the hub does not take them.
    """
    ends = now()
    begins = ends - plan.past
    sky, sun = Sky(plan.seed), SunClock.starting(begins, hour=plan.sun_hour, speed=plan.sun_speed)
    dwellings = [dwelling(plan.seed, index) for index in range(plan.count)]
    roofs = {home.roof for home in dwellings}
    async with open_hub(hub.api_url) as client:
        administrator = await Administrator.sign_in(client, hub.administrator)
        residents = Residents(client, remembered_in, administrator)
        await gather_or_raise(
            [
                residents.settle(dwellings, begins, plan.dialects),
                asyncio.to_thread(sky.prepare, roofs, sun.at(begins)),
            ]
        )
    tally.registered, tally.owners = len(residents.settled), residents.owners
    weather = Weather(sky, sun)
    clock = now if plan.speed == 1 else _hastened(plan, now)
    first_at, live = begins if plan.backfill else clock(), not plan.past
    tally.stations = [
        Station(one, weather, first_at, faults=plan.faults, live=live) for one in residents.settled
    ]
    try:
        if plan.backfill:
            await _backfill(plan, hub, tally, begins, ends)
        else:
            await _publish(plan, hub, residents, tally, clock)
    finally:
        residents.save()


def _hastened(plan: FleetPlan, now: Clock) -> Clock:
    """A clock that starts so far back that it is right when the fleet's time is up."""
    right_at = now() + timedelta(seconds=plan.duration_s or 0)
    return lambda: min(now(), right_at - (right_at - now()) * plan.speed)


def _links(plan: FleetPlan, hub: HubAddresses, tally: FleetTally) -> Links:
    broker = hub.broker or tally.stations[0].resident.registered.broker
    return Links(broker, Random(plan.seed), tally.links)


async def _publish(
    plan: FleetPlan, hub: HubAddresses, residents: Residents, tally: FleetTally, now: Clock
) -> None:
    links, chance = _links(plan, hub, tally), Random(plan.seed)
    # They end by themselves, in peace; but not if they can't.
    patience_s = None if plan.duration_s is None else plan.duration_s + _LEAVES_WITHIN_S
    try:
        async with asyncio.timeout(patience_s) as limit, asyncio.TaskGroup() as tasks:
            saving = tasks.create_task(_save_often(residents))
            devices = [_Device(one, plan, links, chance, now, tally) for one in tally.stations]
            await gather_or_raise(device.run() for device in devices)
            saving.cancel()
    except TimeoutError:
        if not limit.expired():
            raise


async def _save_often(residents: Residents) -> None:
    """So that the meters of a fleet that is killed go on almost where they were."""
    while True:
        await asyncio.sleep(_SAVE_EVERY_S)
        residents.save()


async def _backfill(
    plan: FleetPlan, hub: HubAddresses, tally: FleetTally, begins: datetime, ends: datetime
) -> None:
    def past(station: Station) -> Backfill:
        chance = Random(f"{plan.seed}:{station.resident.dwelling.key}:pace")
        times = moments(begins, ends, 1 / plan.rate_hz, _JITTER, chance)
        return Backfill(station, times, ends, plan.batch, tally.sent)

    links = _links(plan, hub, tally)
    devices = [past(station) for station in tally.stations]
    await gather_or_raise(
        links.run(device.station.resident.registered.credentials, device.speak)
        for device in devices
    )


class _Device:
    """Measures at its own pace. What can't be sent waits, up to one message full of readings."""

    def __init__(
        self,
        station: Station,
        plan: FleetPlan,
        links: Links,
        chance: Random,
        now: Clock,
        tally: FleetTally,
    ) -> None:
        self._station = station
        self._plan = plan
        self._period_s = 1 / plan.rate_hz
        self._links = links
        self._chance = chance
        self._now = now
        self._tally = tally
        self._departures = FaultySendQueue(SendQueue(waiting_max=MESSAGE_MAX_READINGS))
        self._measured = asyncio.Event()
        self._done = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._measure())
            credentials = self._station.resident.registered.credentials
            tasks.create_task(self._links.run(credentials, self._speak))

    async def _measure(self) -> None:
        try:
            async with asyncio.timeout(self._plan.duration_s):
                await asyncio.sleep(self._chance.uniform(0, self._period_s))
                while True:
                    self._departures.add(self._station.measure(self._now()))
                    self._measured.set()
                    jitter = self._chance.uniform(1 - _JITTER, 1 + _JITTER)
                    await asyncio.sleep(self._period_s * jitter)
        except TimeoutError:
            self._departures.add(self._station.measure_well(self._now()))
            self._done = True
            self._measured.set()

    async def _speak(self, line: Line) -> None:
        self._departures.connected_anew()
        while True:
            while self._departures:
                self._tally.sent(await self._departures.send(line, MESSAGE_MAX_READINGS))
            if self._done:
                return
            self._measured.clear()
            await self._measured.wait()
