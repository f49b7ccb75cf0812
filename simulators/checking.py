"""Asks the hub what it counted of a fleet, and holds it against the truth."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from core.intervals import SELLABLE
from core.units import SLOT, rfc3339, slot_of
from simulators.comparison import Comparison, ReportedEnergy, compare
from simulators.faults import may_lose
from simulators.gather_or_raise import gather_or_raise
from simulators.hub_client import HubClientError, HubSession, UserAccount, open_hub
from simulators.link import Credentials
from simulators.station import Station

_LOOK_EVERY_S = 0.5
_INSTANT = timedelta(milliseconds=1)  # some write seconds as floating point numbers


@dataclass(frozen=True, slots=True)
class Checked:
    """One device: what it generated, and what it exported, which is its surplus.

    `whole`: nothing befell it that loses energy.
    """

    device_id: str
    generated: Comparison
    surplus: Comparison
    whole: bool

    @property
    def is_exact(self) -> bool:
        return self.generated.is_exact and self.surplus.is_exact

    @property
    def is_sound(self) -> bool:
        return self.is_exact or (
            not self.whole and self.generated.is_sound and self.surplus.is_sound
        )


async def check(
    api_url: str, owners: Sequence[UserAccount], stations: Sequence[Station], *, patience_s: float
) -> list[Checked]:
    """Once the hub has the last reading of each. Raises HubError when it doesn't get there."""
    async with open_hub(api_url) as client:
        sessions = await gather_or_raise(HubSession.sign_in(client, owner) for owner in owners)
        return [
            await _check(sessions[station.resident.owner], station, patience_s)
            for station in stations
        ]


async def _check(owner: HubSession, station: Station, patience_s: float) -> Checked:
    device = station.resident.registered.credentials
    truth = station.truth
    assert truth.first_at is not None
    assert truth.last_at is not None
    try:
        async with asyncio.timeout(patience_s):
            await _until_taken(owner, device, truth.last_at)
    except TimeoutError:
        raise HubClientError(
            f"the hub has not taken the last reading of {device.device_id} ({device.dialect})"
        ) from None
    slots = (
        await owner.get(
            f"devices/{device.device_id}/energy",
            **{"from": rfc3339(slot_of(truth.first_at)), "to": rfc3339(truth.last_at + SLOT)},
            limit=10_000,
        )
    )["items"]
    generated = {slot: e.generated_uwh / 1e6 for slot, e in truth.slots.items()}
    exported = {slot: e.exported_uwh / 1e6 for slot, e in truth.slots.items()}
    return Checked(
        device.device_id,
        compare(generated, _told(slots, "generated_wh"), station.shared),
        compare(exported, _told(slots, "surplus_wh"), station.shared),
        whole=not may_lose(station.hits, truth.first_at),
    )


async def _until_taken(owner: HubSession, device: Credentials, at: datetime) -> None:
    """Until the hub has the reading of `at`."""
    span = {"from": rfc3339(at - _INSTANT), "to": rfc3339(at + _INSTANT)}
    while True:
        if (await owner.get(f"devices/{device.device_id}/telemetry", **span))["items"]:
            return
        await asyncio.sleep(_LOOK_EVERY_S)


def _told(slots: Sequence[Mapping[str, Any]], energy: str) -> dict[datetime, ReportedEnergy]:
    return {
        datetime.fromisoformat(slot["slot_start"]): ReportedEnergy(
            slot[energy] if slot["quality"] in SELLABLE else 0.0, frozenset(slot["reasons"])
        )
        for slot in slots
    }
