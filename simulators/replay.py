"""Recorded telemetry, sent again by devices of its own, at any speed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import cycle
from math import ceil, inf
from pathlib import Path
from random import Random

from core.readings import Reading
from simulators.administering import NEEDED, Administrator
from simulators.gather_or_raise import gather_or_raise
from simulators.hosting import offer_surplus, register_device
from simulators.hub_addresses import HubAddresses
from simulators.hub_client import HubClientError, HubRefusal, HubSession, invent_account, open_hub
from simulators.link import Line, Links, LinkTally
from simulators.outcome import Played, ReplayOutcome
from simulators.places import LOCALITIES, Locality, near
from simulators.send_queue import SendQueue
from simulators.series import first_and_last, peak_w, shifted, time_of

_OFFERED_FOR = timedelta(days=1)
_DEVICES_PER_HOST = 100  # as many as one may have, unless the hub is told otherwise


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """`speed` inf: as fast as the broker takes it. `capacity_w` None: what the recording shows.

    Times are shifted so that the recording ends now, each device's by itself with `align`.
    """

    speed: float
    batch: int = 1
    keep_times: bool = False
    align: bool = False
    capacity_w: float | None = None
    seed: int = 1


@dataclass(slots=True)
class ReplayTally:
    """What has been replayed so far; its owner may read it at any time."""

    devices: int = 0
    readings: int = 0
    links: LinkTally = field(default_factory=LinkTally)


def timed(
    plan: ReplayPlan, series: dict[str, list[Reading]], now: datetime
) -> dict[str, list[Reading]]:
    """A recording with the times that it is to be sent with."""
    return series if plan.keep_times else shifted(series, now, align=plan.align)


async def run(
    plan: ReplayPlan,
    series: dict[str, list[Reading]],
    hub: HubAddresses,
    written_to: Path,
    tally: ReplayTally,
    *,
    now: datetime,
) -> None:
    """Register a device for each series, send all readings, write down what became of them.

    `written_to` is written before the first reading and again at the end. Raises HubError.
    """
    owners = [
        invent_account(f"Recorded host {number + 1}", "host")
        for number in range(max(1, ceil(len(series) / _DEVICES_PER_HOST)))
    ]
    async with open_hub(hub.api_url) as client:
        hosts = await gather_or_raise(HubSession.register(client, owner) for owner in owners)
        administrator = await Administrator.sign_in(client, hub.administrator)
        played = await _register(hosts, administrator, series, plan, now)
    tally.devices = len(played)
    outcome = ReplayOutcome(written_to, hub.api_url, owners, played)
    outcome.write()
    try:
        await _play(plan, hub, played, tally)
    finally:
        outcome.write()


async def _register(
    hosts: Sequence[HubSession],
    administrator: Administrator | None,
    series: dict[str, list[Reading]],
    plan: ReplayPlan,
    now: datetime,
) -> dict[str, Played]:
    chance = Random(plan.seed)
    offers = [
        (device, readings, near(locality, chance), f"{chance.uniform(5, 8):.2f}")
        for (device, readings), locality in zip(series.items(), cycle(LOCALITIES), strict=False)
    ]
    played = await gather_or_raise(
        _register_one(
            hosts[n // _DEVICES_PER_HOST], administrator, device, readings, place, price, plan, now
        )
        for n, (device, readings, place, price) in enumerate(offers)
    )
    return dict(zip(series, played, strict=True))


async def _register_one(
    host: HubSession,
    administrator: Administrator | None,
    device: str,
    readings: list[Reading],
    place: Locality,
    price_per_kwh: str,
    plan: ReplayPlan,
    now: datetime,
) -> Played:
    capacity_w = plan.capacity_w or float(max(1, ceil(peak_w(readings))))
    registered = await register_device(
        host, name=device, kind="inverter", capacity_w=capacity_w, place=place
    )
    device_id, begins = registered.credentials.device_id, first_and_last(readings)[0]
    if administrator is not None:
        await administrator.let_earn(device_id, min(begins, now))
    try:
        listing_id = await offer_surplus(
            host,
            device_id,
            price_per_kwh=price_per_kwh,
            available_from=begins,
            available_to=now + _OFFERED_FOR,
        )
    except HubRefusal as refusal:
        if refusal.code == "capacity_not_approved" and administrator is None:
            raise HubClientError(
                f"{device} can make {capacity_w:,.0f} W: {refusal}; {NEEDED}"
            ) from None
        raise
    assert listing_id is not None  # the device is new
    return Played(registered, listing_id, capacity_w, readings)


async def _play(
    plan: ReplayPlan, hub: HubAddresses, played: dict[str, Played], tally: ReplayTally
) -> None:
    broker = hub.broker or next(iter(played.values())).registered.broker
    links = Links(broker, Random(plan.seed), tally.links)
    begins, _ = first_and_last(reading for one in played.values() for reading in one.readings)
    pace = ReplayPace(begins, plan.speed, asyncio.get_running_loop().time())
    players = [Player(one, pace, plan.batch, tally) for one in played.values()]
    # They leave without saying `offline`: what they measured may still be bought for a while.
    await gather_or_raise(
        links.run(player.played.registered.credentials, player.speak, says_goodbye=False)
        for player in players
    )


@dataclass(frozen=True, slots=True)
class ReplayPace:
    """When a reading is due: recorded time passes `speed` times as fast as the loop's clock."""

    begins: datetime
    speed: float
    started_s: float

    def wait_s(self, reading: Reading) -> float:
        if self.speed == inf:
            return 0.0
        due_s = self.started_s + (time_of(reading) - self.begins).total_seconds() / self.speed
        return due_s - asyncio.get_running_loop().time()


@dataclass(slots=True)
class Player:
    """Sends one device's readings, in order, each again until the broker surely has it."""

    played: Played
    pace: ReplayPace
    batch: int
    tally: ReplayTally
    _outgoing: SendQueue = field(init=False)

    def __post_init__(self) -> None:
        self._outgoing = SendQueue(self.played.readings)

    async def speak(self, line: Line) -> None:
        self._outgoing.connected_anew()
        while self._outgoing:
            batch = await self._due()
            await line.send(batch)
            self._outgoing.taken(len(batch))
            self._count(len(self.played.readings) - len(self._outgoing))

    def _count(self, sent: int) -> None:
        """So many of the readings were sent by now; those that go again count once."""
        anew = max(0, sent - self.played.sent)
        self.played.sent += anew
        self.tally.readings += anew

    async def _due(self) -> list[Reading]:
        """The next reading when its time has come, and with it what else is due by then."""
        ahead = self._outgoing.ahead(self.batch)
        await asyncio.sleep(max(0.0, self.pace.wait_s(ahead[0])))
        return [ahead[0], *(reading for reading in ahead[1:] if self.pace.wait_s(reading) <= 0)]
