"""The homes of a demonstration: they report the last day at once, and then live.

Homes of several sizes and firmwares take part. Some have faults that heal. Most of them follow the
dynamic price. The next run continues with the same homes and meters.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from core.clock import Clock
from core.dialects import Dialect
from simulators.device import SimulatedDevice, Weather
from simulators.device_connection import DeviceConnector
from simulators.faults import Fault, FaultPlan
from simulators.fleet import FleetTally, connector_of, save_periodically
from simulators.gather_or_raise import gather_or_raise
from simulators.homes import home_spec
from simulators.hub_client import HubAddresses, open_hub
from simulators.publishers import BackfillPublisher, LivePublisher, measurement_times
from simulators.registered_homes import RegisteredHome, RegisteredHomes
from simulators.registration import Administrator
from simulators.sun import Sky, SunClock

# Firmwares that send a reading as one message with its time. The parts of other firmwares' readings
# belong together for a few seconds, which a fast clock shows to pass between two messages.
_DIALECTS = (Dialect.NATIVE, Dialect.TASMOTA, Dialect.SENML, Dialect.AHOY, Dialect.GROTT)
# From a balcony to a large roof.
_PANELS = (3, 18)
_HISTORY_BATCH = 100
# Every n-th home has faults, and every n-th has a fixed price.
_FAULTY_EVERY = 4
_FIXED_PRICE_EVERY = 3
# Faults after which the meter shows the true energy again.
_HEALING_FAULTS = (
    Fault.ZERO, Fault.GAP, Fault.DIP, Fault.RECONNECT, Fault.SPIKE, Fault.LATE, Fault.DUPLICATE,
    Fault.DISORDER,
)  # fmt: skip
_CALM_READINGS = 60


@dataclass(frozen=True, slots=True)
class NeighbourhoodPlan:
    """Parameters of a neighbourhood, reproducible from a seed."""

    count: int = 24
    # Readings per second of real time and home.
    rate_hz: float = 1.0
    # Time before the start that new homes report, and time between two readings of it.
    history: timedelta = timedelta(days=1)
    history_period: timedelta = timedelta(minutes=15)
    # New homes sell what they measured in the last part of their history.
    sells_since: timedelta = timedelta(hours=3)
    seed: int = 1


async def run(
    plan: NeighbourhoodPlan, hub: HubAddresses, state_file: Path, tally: FleetTally, clock: Clock
) -> None:
    """Register the homes, then let them publish until cancelled. Raises HubClientError."""
    starts = clock.now()
    sky = Sky(plan.seed)
    specs = [home_spec(plan.seed, index, panels=_PANELS) for index in range(plan.count)]
    roofs = {spec.roof for spec in specs}
    async with open_hub(hub.api_url) as client:
        administrator = await Administrator.sign_in(client, hub.administrator)
        homes = RegisteredHomes(client, state_file, administrator)
        await gather_or_raise(
            [
                homes.register(
                    specs, starts - plan.sells_since, _DIALECTS, fixed_every=_FIXED_PRICE_EVERY
                ),
                asyncio.to_thread(sky.prepare, roofs, starts - plan.history),
                asyncio.to_thread(sky.prepare, roofs, starts),
            ]
        )
    tally.registered, tally.owners = len(homes.registered), homes.owners
    weather = Weather(sky, SunClock(starts, starts))
    connector = connector_of(plan.seed, hub, homes.registered[0], tally)
    neighbours = [
        _Neighbour(home, plan, weather, connector, clock, tally) for home in homes.registered
    ]
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(save_periodically(homes))
            await gather_or_raise(neighbour.run(starts) for neighbour in neighbours)
    finally:
        homes.save()


class _Neighbour:
    """One home: its history, if it is new, and then its present."""

    def __init__(
        self,
        home: RegisteredHome,
        plan: NeighbourhoodPlan,
        weather: Weather,
        connector: DeviceConnector,
        clock: Clock,
        tally: FleetTally,
    ) -> None:
        self._home = home
        self._plan = plan
        self._weather = weather
        self._connector = connector
        self._clock = clock
        self._tally = tally
        self._rng = Random(f"{plan.seed}:{home.spec.key}:pace")

    async def run(self, starts: datetime) -> None:
        if self._home.is_new:
            await self._report_history(starts)
            lives_from = starts
        else:
            lives_from = self._clock.now()
        device = SimulatedDevice(self._home, self._weather, lives_from, faults=self._faults())
        await LivePublisher(
            device,
            self._connector,
            rate_hz=self._plan.rate_hz,
            duration_s=None,
            rng=self._rng,
            now=self._clock.now,
            count_sent=self._tally.count_sent,
        ).run()

    async def _report_history(self, ends: datetime) -> None:
        begins, period_s = ends - self._plan.history, self._plan.history_period.total_seconds()
        device = SimulatedDevice(self._home, self._weather, begins)
        times = measurement_times(begins, ends, period_s, self._rng)
        publisher = BackfillPublisher(device, times, ends, _HISTORY_BATCH, self._tally.count_sent)
        credentials = self._home.device.credentials
        await self._connector.run(credentials, publisher.publish, announce_offline=False)

    def _faults(self) -> FaultPlan | None:
        if self._home.spec.number % _FAULTY_EVERY:
            return None
        number = self._home.spec.number // _FAULTY_EVERY
        kinds: Sequence[Fault] = _HEALING_FAULTS[number % 2 :: 2]
        return FaultPlan(self._plan.seed, kinds, _CALM_READINGS)
