"""The check of a fleet with faults: the hub's energy of every device, compared with the truth."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from core.intervals import SELLABLE
from core.units import SLOT, rfc3339, slot_of
from simulators.comparison import Comparison, ReportedEnergy, compare
from simulators.device import SimulatedDevice
from simulators.device_connection import Credentials
from simulators.faults import may_lose_energy
from simulators.gather_or_raise import gather_or_raise
from simulators.hub_client import HubClientError, HubSession, UserAccount, open_hub

_POLL_S = 0.5
# Some firmwares write seconds as floating-point numbers, so times differ by rounding.
_TIME_TOLERANCE = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class DeviceCheck:
    """The comparison of one device: generated energy, and exported energy as surplus."""

    device_id: str
    generated: Comparison
    surplus: Comparison
    # No fault occurred that may lose energy: the hub must have all of it.
    must_be_exact: bool

    @property
    def is_exact(self) -> bool:
        return self.generated.is_exact and self.surplus.is_exact

    @property
    def is_sound(self) -> bool:
        return self.is_exact or (
            not self.must_be_exact and self.generated.is_sound and self.surplus.is_sound
        )


async def check(
    api_url: str,
    owners: Sequence[UserAccount],
    devices: Sequence[SimulatedDevice],
    *,
    timeout_s: float,
) -> list[DeviceCheck]:
    """Compare each device once the hub has stored its last reading.

    The hub accounts late readings after it has stored them. A device whose energy is not sound is
    compared again until it is, for `timeout_s` in all. Raises HubClientError if the hub takes
    longer than `timeout_s` to store the last reading of a device.
    """
    async with open_hub(api_url) as client:
        sessions = await gather_or_raise(HubSession.sign_in(client, owner) for owner in owners)
        give_up_at = monotonic() + timeout_s
        checks = []
        for device in devices:
            owner = sessions[device.registered.owner]
            await _wait_until_stored(owner, device, timeout_s)
            checked = await _compare(owner, device)
            while not checked.is_sound and monotonic() < give_up_at:
                await asyncio.sleep(_POLL_S)
                checked = await _compare(owner, device)
            checks.append(checked)
        return checks


async def _wait_until_stored(owner: HubSession, device: SimulatedDevice, timeout_s: float) -> None:
    credentials, last_at = device.registered.device.credentials, device.truth.last_at
    assert last_at is not None
    try:
        async with asyncio.timeout(timeout_s):
            await _until_stored(owner, credentials, last_at)
    except TimeoutError:
        raise HubClientError(
            f"the hub has not stored the last reading of {credentials.device_id}"
            f" ({credentials.dialect}) within {timeout_s:g} s"
        ) from None


async def _compare(owner: HubSession, device: SimulatedDevice) -> DeviceCheck:
    credentials, truth = device.registered.device.credentials, device.truth
    assert truth.first_at is not None
    assert truth.last_at is not None
    slots = (
        await owner.get(
            f"devices/{credentials.device_id}/energy",
            **{"from": rfc3339(slot_of(truth.first_at)), "to": rfc3339(truth.last_at + SLOT)},
            limit=10_000,
        )
    )["items"]
    generated = {slot: e.generated_uwh / 1e6 for slot, e in truth.slots.items()}
    exported = {slot: e.exported_uwh / 1e6 for slot, e in truth.slots.items()}
    return DeviceCheck(
        credentials.device_id,
        compare(generated, _reported(slots, "generated_wh"), device.shared_slots),
        compare(exported, _reported(slots, "surplus_wh"), device.shared_slots),
        must_be_exact=not may_lose_energy(device.occurrences, truth.first_at),
    )


async def _until_stored(owner: HubSession, device: Credentials, at: datetime) -> None:
    """Poll until the hub has the reading of `at`."""
    span = {"from": rfc3339(at - _TIME_TOLERANCE), "to": rfc3339(at + _TIME_TOLERANCE)}
    while True:
        if (await owner.get(f"devices/{device.device_id}/telemetry", **span))["items"]:
            return
        await asyncio.sleep(_POLL_S)


def _reported(slots: Sequence[Mapping[str, Any]], energy: str) -> dict[datetime, ReportedEnergy]:
    return {
        datetime.fromisoformat(slot["slot_start"]): ReportedEnergy(
            slot[energy] if slot["quality"] in SELLABLE else 0.0, frozenset(slot["reasons"])
        )
        for slot in slots
    }
