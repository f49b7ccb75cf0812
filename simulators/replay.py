"""Replay of recorded telemetry, by devices that are registered for it, at any speed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle
from math import ceil, inf
from pathlib import Path
from random import Random

from core.readings import Reading
from simulators.device_connection import ConnectionTally, DeviceConnection, DeviceConnector
from simulators.gather_or_raise import gather_or_raise
from simulators.hub_client import (
    HubAddresses,
    HubClientError,
    HubRefusal,
    HubSession,
    invent_account,
    open_hub,
)
from simulators.places import LOCALITIES, Locality, near
from simulators.registration import (
    ADMINISTRATOR_NEEDED,
    Administrator,
    offer_surplus,
    register_device,
)
from simulators.replay_outcome import ReplayedDevice, ReplayOutcome
from simulators.send_queue import SendQueue
from simulators.series import first_and_last, peak_w, shifted, time_of

_OFFERED_FOR = timedelta(days=1)
# The hub's default quota of devices per user.
_DEVICES_PER_HOST = 100


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """Parameters of a replay."""

    # Recorded seconds per second; inf: as fast as the broker acknowledges.
    speed: float
    # Readings per message, at most.
    batch: int = 1
    # Send the recorded times; otherwise they are shifted so that the recording ends now.
    keep_times: bool = False
    # Shift each device separately.
    align: bool = False
    # Capacity of every device; None: the peak power of its recording.
    capacity_w: float | None = None
    seed: int = 1


@dataclass(slots=True)
class ReplayTally:
    """Counts of what has been replayed so far; the owner may read it at any time."""

    devices: int = 0
    readings: int = 0
    connections: ConnectionTally = field(default_factory=ConnectionTally)


def with_times(
    plan: ReplayPlan, series: dict[str, list[Reading]], now: datetime
) -> dict[str, list[Reading]]:
    """Return the recording with the times with which it is sent."""
    return series if plan.keep_times else shifted(series, now, align=plan.align)


async def run(
    plan: ReplayPlan,
    series: dict[str, list[Reading]],
    hub: HubAddresses,
    outcome_file: Path,
    tally: ReplayTally,
    *,
    now: datetime,
) -> None:
    """Register a device for each series, send all readings, write the outcome.

    The outcome is written before the first reading and again at the end. Raises HubClientError.
    """
    owners = [
        invent_account(f"Recorded host {number + 1}", "host")
        for number in range(max(1, ceil(len(series) / _DEVICES_PER_HOST)))
    ]
    async with open_hub(hub.api_url) as client:
        hosts = await gather_or_raise(HubSession.register(client, owner) for owner in owners)
        administrator = await Administrator.sign_in(client, hub.administrator)
        devices = await _register_all(hosts, administrator, series, plan, now)
    tally.devices = len(devices)
    outcome = ReplayOutcome(outcome_file, hub.api_url, owners, devices)
    outcome.write()
    try:
        await _publish_all(plan, hub, devices, tally)
    finally:
        outcome.write()


async def _register_all(
    hosts: Sequence[HubSession],
    administrator: Administrator | None,
    series: dict[str, list[Reading]],
    plan: ReplayPlan,
    now: datetime,
) -> dict[str, ReplayedDevice]:
    rng = Random(plan.seed)
    offers = [
        (name, readings, near(locality, rng), f"{rng.uniform(5, 8):.2f}")
        for (name, readings), locality in zip(series.items(), cycle(LOCALITIES), strict=False)
    ]
    devices = await gather_or_raise(
        _register(
            hosts[n // _DEVICES_PER_HOST], administrator, name, readings, place, price, plan, now
        )
        for n, (name, readings, place, price) in enumerate(offers)
    )
    return dict(zip(series, devices, strict=True))


async def _register(
    host: HubSession,
    administrator: Administrator | None,
    name: str,
    readings: list[Reading],
    place: Locality,
    price_per_kwh: str,
    plan: ReplayPlan,
    now: datetime,
) -> ReplayedDevice:
    capacity_w = plan.capacity_w or float(max(1, ceil(peak_w(readings))))
    registered = await register_device(
        host, name=name, kind="inverter", capacity_w=capacity_w, place=place
    )
    device_id, begins = registered.credentials.device_id, first_and_last(readings)[0]
    if administrator is not None:
        await administrator.allow_earning(device_id, min(begins, now))
    try:
        listing_id = await offer_surplus(
            host,
            device_id,
            pricing={"price_per_kwh": price_per_kwh},
            available_from=begins,
            available_to=now + _OFFERED_FOR,
        )
    except HubRefusal as refusal:
        if refusal.code == "capacity_not_approved" and administrator is None:
            raise HubClientError(
                f"{name} has a peak power of {capacity_w:,.0f} W: {refusal}; {ADMINISTRATOR_NEEDED}"
            ) from None
        raise
    # The device is new, so no listing of it can be open already.
    assert listing_id is not None
    return ReplayedDevice(registered, listing_id, capacity_w, readings)


async def _publish_all(
    plan: ReplayPlan, hub: HubAddresses, devices: dict[str, ReplayedDevice], tally: ReplayTally
) -> None:
    broker = hub.broker or next(iter(devices.values())).registered.broker
    connector = DeviceConnector(broker, Random(plan.seed), tally.connections)
    begins, _ = first_and_last(
        reading for device in devices.values() for reading in device.readings
    )
    schedule = ReplaySchedule(begins, plan.speed, asyncio.get_running_loop().time())
    publishers = [
        ReplayPublisher(device, schedule, plan.batch, tally) for device in devices.values()
    ]
    # No offline message: it would pause the listings at once, before their energy can be bought.
    await gather_or_raise(
        connector.run(
            publisher.device.registered.credentials, publisher.publish, announce_offline=False
        )
        for publisher in publishers
    )


@dataclass(frozen=True, slots=True)
class ReplaySchedule:
    """The times at which readings are due: recorded time runs `speed` times as fast as the loop's.

    `started_s` is the time of the event loop at which the recording begins.
    """

    begins: datetime
    speed: float
    started_s: float

    def wait_s(self, reading: Reading) -> float:
        """Return how long a reading has to wait; 0 or less if it is due."""
        if self.speed == inf:
            return 0.0
        due_s = self.started_s + (time_of(reading) - self.begins).total_seconds() / self.speed
        return due_s - asyncio.get_running_loop().time()


@dataclass(slots=True)
class ReplayPublisher:
    """Publishes one device's readings in order, and again after a reconnection (`SendQueue`)."""

    device: ReplayedDevice
    schedule: ReplaySchedule
    batch: int
    tally: ReplayTally
    _queue: SendQueue = field(init=False)

    def __post_init__(self) -> None:
        self._queue = SendQueue(self.device.readings)

    async def publish(self, connection: DeviceConnection) -> None:
        self._queue.reconnected()
        while self._queue:
            batch = await self._due()
            await connection.send(batch)
            self._queue.acknowledge(len(batch))
            self._count(len(self.device.readings) - len(self._queue))

    def _count(self, sent: int) -> None:
        """Count what was sent for the first time, given how many readings are sent by now."""
        newly_sent = max(0, sent - self.device.sent)
        self.device.sent += newly_sent
        self.tally.readings += newly_sent

    async def _due(self) -> list[Reading]:
        """Wait until the next reading is due; return it and the others that are due by then."""
        ahead = self._queue.peek(self.batch)
        await asyncio.sleep(max(0.0, self.schedule.wait_s(ahead[0])))
        return [ahead[0], *(r for r in ahead[1:] if self.schedule.wait_s(r) <= 0)]
