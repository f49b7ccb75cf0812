"""A fleet of homes: each device measures itself and publishes with its own credentials."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from core.clock import real_now
from core.dialects import Dialect
from simulators.device import Clock, SimulatedDevice, Weather
from simulators.device_connection import ConnectionTally, DeviceConnector
from simulators.faults import FaultPlan
from simulators.gather_or_raise import gather_or_raise
from simulators.homes import home_spec
from simulators.hub_client import HubAddresses, UserAccount, open_hub
from simulators.publishers import BackfillPublisher, LivePublisher, measurement_times
from simulators.registered_homes import RegisteredHome, RegisteredHomes
from simulators.registration import Administrator
from simulators.sun import Sky, SunClock

# The meters of a fleet that is killed continue from the last save.
_SAVE_EVERY_S = 20.0
# Devices end by themselves after `duration_s`; this bounds how long their last messages may take.
_END_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """Parameters of a fleet, reproducible from a seed."""

    count: int
    # Readings per second and home.
    rate_hz: float
    duration_s: float | None = None
    # Hour of the day at which the simulated sun starts; None: the real one.
    sun_hour: float | None = None
    sun_speed: float = 1.0
    seed: int = 1
    # With faults the true energy is recorded too.
    faults: FaultPlan | None = None
    # Measure this much of the past as fast as the broker acknowledges, then end.
    backfill: timedelta | None = None
    # Readings per message of a backfill, at most.
    batch: int = 1
    # Dialects of new homes, one after the other.
    dialects: Sequence[Dialect] = (Dialect.NATIVE,)
    # Devices' clocks run this fast, from so far back that they are right after `duration_s`.
    speed: float = 1.0

    @property
    def past(self) -> timedelta:
        """Return how far in the past measurements begin."""
        ahead_s = (self.duration_s or 0) * (self.speed - 1)
        return self.backfill or timedelta(seconds=max(0.0, ahead_s))


@dataclass(slots=True)
class FleetTally:
    """Counts of what the fleet has done so far; the owner may read it at any time."""

    registered: int = 0
    readings: int = 0
    connections: ConnectionTally = field(default_factory=ConnectionTally)
    devices: Sequence[SimulatedDevice] = ()
    owners: Sequence[UserAccount] = ()

    def count_sent(self, readings: int) -> None:
        self.readings += readings


async def run(
    plan: FleetPlan,
    hub: HubAddresses,
    state_file: Path | None,
    tally: FleetTally,
    *,
    now: Clock = real_now,
) -> None:
    """Register the homes, then let them publish until the time is up or it is cancelled.

    `state_file` keeps homes and meters for the next run. Raises HubClientError.
    """
    ends = now()
    begins = ends - plan.past
    sky, sun = Sky(plan.seed), SunClock.starting(begins, hour=plan.sun_hour, speed=plan.sun_speed)
    specs = [home_spec(plan.seed, index) for index in range(plan.count)]
    roofs = {spec.roof for spec in specs}
    async with open_hub(hub.api_url) as client:
        administrator = await Administrator.sign_in(client, hub.administrator)
        homes = RegisteredHomes(client, state_file, administrator)
        await gather_or_raise(
            [
                homes.register(specs, begins, plan.dialects),
                asyncio.to_thread(sky.prepare, roofs, sun.at(begins)),
            ]
        )
    tally.registered, tally.owners = len(homes.registered), homes.owners
    weather = Weather(sky, sun)
    clock = now if plan.speed == 1 else _accelerated(plan, now)
    first_at, live = begins if plan.backfill else clock(), not plan.past
    tally.devices = [
        SimulatedDevice(home, weather, first_at, faults=plan.faults, live=live)
        for home in homes.registered
    ]
    try:
        if plan.backfill:
            await _backfill(plan, hub, tally, begins, ends)
        else:
            await _publish_live(plan, hub, homes, tally, clock)
    finally:
        homes.save()


def _accelerated(plan: FleetPlan, now: Clock) -> Clock:
    """Return a clock that runs `speed` times as fast and is right when `duration_s` is over."""
    right_at = now() + timedelta(seconds=plan.duration_s or 0)
    return lambda: min(now(), right_at - (right_at - now()) * plan.speed)


def connector_of(
    seed: int, hub: HubAddresses, home: RegisteredHome, tally: FleetTally
) -> DeviceConnector:
    """Return a connector to the hub's broker, or to the one that the hub named for a home."""
    return DeviceConnector(hub.broker or home.device.broker, Random(seed), tally.connections)


async def _publish_live(
    plan: FleetPlan, hub: HubAddresses, homes: RegisteredHomes, tally: FleetTally, now: Clock
) -> None:
    connector = connector_of(plan.seed, hub, homes.registered[0], tally)
    rng = Random(plan.seed)
    timeout_s = None if plan.duration_s is None else plan.duration_s + _END_WITHIN_S
    try:
        async with asyncio.timeout(timeout_s) as limit, asyncio.TaskGroup() as tasks:
            saving = tasks.create_task(save_periodically(homes))
            publishers = [
                LivePublisher(
                    device,
                    connector,
                    rate_hz=plan.rate_hz,
                    duration_s=plan.duration_s,
                    rng=rng,
                    now=now,
                    count_sent=tally.count_sent,
                )
                for device in tally.devices
            ]
            await gather_or_raise(publisher.run() for publisher in publishers)
            saving.cancel()
    except TimeoutError:
        if not limit.expired():
            raise


async def save_periodically(homes: RegisteredHomes) -> None:
    """Save homes and meters until cancelled."""
    while True:
        await asyncio.sleep(_SAVE_EVERY_S)
        homes.save()


async def _backfill(
    plan: FleetPlan, hub: HubAddresses, tally: FleetTally, begins: datetime, ends: datetime
) -> None:
    def publisher_of(device: SimulatedDevice) -> BackfillPublisher:
        rng = Random(f"{plan.seed}:{device.registered.spec.key}:pace")
        times = measurement_times(begins, ends, 1 / plan.rate_hz, rng)
        return BackfillPublisher(device, times, ends, plan.batch, tally.count_sent)

    connector = connector_of(plan.seed, hub, tally.devices[0].registered, tally)
    publishers = [publisher_of(device) for device in tally.devices]
    await gather_or_raise(
        connector.run(publisher.device.registered.device.credentials, publisher.publish)
        for publisher in publishers
    )
