"""What a device truly generated and exported, slot by slot, and what went wrong with telling it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from core.intervals import spread
from core.units import rfc3339
from simulators import private_json
from simulators.faults import Hit
from simulators.household import Meters


@dataclass(slots=True)
class Energy:
    """Microwatt-hours."""

    generated_uwh: int = 0
    exported_uwh: int = 0


@dataclass(slots=True)
class Truth:
    """From the first measurement on, by the home's own meters, whatever it showed of them."""

    first_at: datetime | None = None
    last_at: datetime | None = None
    slots: dict[datetime, Energy] = field(default_factory=lambda: defaultdict(Energy))
    _generated_uwh: int = 0
    _exported_uwh: int = 0

    def measured(self, at: datetime, meters: Meters) -> None:
        """Its meters have counted up to `at`."""
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

    def total(self) -> Energy:
        return Energy(
            sum(slot.generated_uwh for slot in self.slots.values()),
            sum(slot.exported_uwh for slot in self.slots.values()),
        )

    def described(self, hits: Sequence[Hit]) -> dict[str, Any]:
        """As the file of `--truth` has it."""
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
                {"fault": hit.fault, "at": rfc3339(hit.at), "readings": hit.readings}
                for hit in sorted(hits, key=lambda hit: hit.at)
            ],
        }


def write(path: Path, seed: int, stations: Mapping[str, tuple[Truth, Sequence[Hit]]]) -> None:
    """The truth of each device, by its id, in one file."""
    devices = {device_id: truth.described(hits) for device_id, (truth, hits) in stations.items()}
    private_json.write(path, {"faults_seed": seed, "devices": devices})
