"""The outcome of a replay: which registered device replays which recorded one, and its counters.

Tests and users compare the hub with the recording by it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.readings import Reading
from core.units import rfc3339
from simulators import private_json
from simulators.hub_client import UserAccount
from simulators.registration import RegisteredDevice
from simulators.series import time_of

_COUNTERS = ("energy_wh", "export_wh", "import_wh")


@dataclass(slots=True)
class ReplayedDevice:
    """A recorded device that is registered at the hub, and its readings."""

    registered: RegisteredDevice
    listing_id: str
    capacity_w: float
    readings: Sequence[Reading]
    # How many of the readings have been sent; a repeated reading counts once.
    sent: int = 0


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """The file that `replay` writes. It contains passwords, so only its owner can read it."""

    path: Path
    api_url: str
    owners: Sequence[UserAccount]
    devices: dict[str, ReplayedDevice]

    def write(self) -> None:
        document = {
            "api_url": self.api_url,
            # The first owner has most devices, and all of them up to the quota of one host.
            "owner": asdict(self.owners[0]),
            "owners": [asdict(owner) for owner in self.owners],
            "readings_sent": sum(device.sent for device in self.devices.values()),
            "devices": {name: _as_json(device) for name, device in self.devices.items()},
        }
        private_json.write(self.path, document)


def _as_json(device: ReplayedDevice) -> dict[str, Any]:
    return {
        "device_id": device.registered.credentials.device_id,
        "listing_id": device.listing_id,
        "capacity_w": device.capacity_w,
        "readings_sent": device.sent,
        "distinct_times": len({time_of(reading) for reading in device.readings[: device.sent]}),
        "first": _first_values(device.readings),
        "last": _first_values(device.readings[::-1]),
    }


def _first_values(readings: Sequence[Reading]) -> dict[str, Any]:
    """Return the time of the first reading, and the first value of each counter."""
    document: dict[str, Any] = {"time": rfc3339(time_of(readings[0]))}
    for counter in _COUNTERS:
        values = (getattr(reading, counter) for reading in readings)
        document[counter] = next((value for value in values if value is not None), None)
    return document
