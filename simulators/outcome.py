"""What became of a replay: which device plays which, and what its counters said.

A test, or a person, compares the hub with the recording by it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.readings import Reading
from core.units import rfc3339
from simulators import private_json
from simulators.hosting import Registered
from simulators.hub_client import UserAccount
from simulators.series import time_of

_COUNTERS = ("energy_wh", "export_wh", "import_wh")


@dataclass(slots=True)
class Played:
    """A device of the recording, as the hub knows it; `sent` is how many of its readings left."""

    registered: Registered
    listing_id: str
    capacity_w: float
    readings: Sequence[Reading]
    sent: int = 0


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """Written to a file that only its owner may read: it holds how the devices' hosts sign in.

    The first host has most, and nearly always all of the devices.
    """

    path: Path
    api_url: str
    owners: Sequence[UserAccount]
    played: dict[str, Played]

    def write(self) -> None:
        document = {
            "api_url": self.api_url,
            "owner": asdict(self.owners[0]),
            "owners": [asdict(owner) for owner in self.owners],
            "readings_sent": sum(one.sent for one in self.played.values()),
            "devices": {device: _described(one) for device, one in self.played.items()},
        }
        private_json.write(self.path, document)


def _described(one: Played) -> dict[str, Any]:
    return {
        "device_id": one.registered.credentials.device_id,
        "listing_id": one.listing_id,
        "capacity_w": one.capacity_w,
        "readings_sent": one.sent,
        "distinct_times": len({time_of(reading) for reading in one.readings[: one.sent]}),
        "first": _shown_first(one.readings),
        "last": _shown_first(one.readings[::-1]),
    }


def _shown_first(readings: Sequence[Reading]) -> dict[str, Any]:
    """The first value of each counter that any reading shows, and the first reading's time."""
    shown: dict[str, Any] = {"time": rfc3339(time_of(readings[0]))}
    for counter in _COUNTERS:
        values = (getattr(reading, counter) for reading in readings)
        shown[counter] = next((value for value in values if value is not None), None)
    return shown
