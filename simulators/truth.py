"""The energy that a device truly generated and exported, by slot, and the faults that hid it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from core.intervals import spread
from core.units import rfc3339
from simulators import private_json
from simulators.faults import FaultOccurrence
from simulators.household import Meters


@dataclass(slots=True)
class TrueEnergy:
    """Generated and exported energy in microwatt-hours."""

    generated_uwh: int = 0
    exported_uwh: int = 0


@dataclass(slots=True)
class Truth:
    """True energy by slot from the first measurement on, taken from the home's own meters."""

    first_at: datetime | None = None
    last_at: datetime | None = None
    slots: dict[datetime, TrueEnergy] = field(default_factory=lambda: defaultdict(TrueEnergy))
    _generated_uwh: int = 0
    _exported_uwh: int = 0

    def add(self, at: datetime, meters: Meters) -> None:
        """Add what the meters have counted up to `at`."""
        if self.last_at is None:
            self.first_at = at
        else:
            generated_uwh = meters.generated_uwh - self._generated_uwh
            exported_uwh = meters.exported_uwh - self._exported_uwh
            for slot, part_uwh in spread(self.last_at, at, generated_uwh):
                self.slots[slot].generated_uwh += part_uwh
            for slot, part_uwh in spread(self.last_at, at, exported_uwh):
                self.slots[slot].exported_uwh += part_uwh
        self.last_at = at
        self._generated_uwh, self._exported_uwh = meters.generated_uwh, meters.exported_uwh

    def total(self) -> TrueEnergy:
        return TrueEnergy(
            sum(slot.generated_uwh for slot in self.slots.values()),
            sum(slot.exported_uwh for slot in self.slots.values()),
        )

    def as_json(self, occurrences: Sequence[FaultOccurrence]) -> dict[str, Any]:
        """Return the device's part of the file that `--truth` writes."""
        total = self.total()
        return {
            "first_at": self.first_at and rfc3339(self.first_at),
            "last_at": self.last_at and rfc3339(self.last_at),
            "generated_uwh": total.generated_uwh,
            "exported_uwh": total.exported_uwh,
            "slots": {
                rfc3339(at): [slot.generated_uwh, slot.exported_uwh]
                for at, slot in sorted(self.slots.items())
            },
            "faults": [
                {"fault": one.fault, "at": rfc3339(one.at), "readings": one.readings}
                for one in sorted(occurrences, key=lambda one: one.at)
            ],
        }


def write(
    path: Path, seed: int, devices: Mapping[str, tuple[Truth, Sequence[FaultOccurrence]]]
) -> None:
    """Write the truth and the faults of all devices, by device id."""
    documents = {
        device_id: truth.as_json(occurrences) for device_id, (truth, occurrences) in devices.items()
    }
    private_json.write(path, {"faults_seed": seed, "devices": documents})
