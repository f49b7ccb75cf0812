"""Energy that a counter is credited with, and the time that it was generated in."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from core.intervals import Quality, Reason, spread
from core.units import SLOT

GAP_AFTER = 2 * SLOT


class Credit(Struct, frozen=True, gc=False):
    """Energy of one counter, generated evenly from `start` to `end`."""

    start: datetime
    end: datetime
    energy_mwh: int
    quality: Quality
    reason: Reason | None = None

    def by_slot(self) -> Iterable[tuple[datetime, int]]:
        """Return (slot start, milliwatt-hours), which add up to the whole exactly."""
        return spread(self.start, self.end, self.energy_mwh)


def difference(
    start: datetime, end: datetime, energy_mwh: int, reason: Reason | None = None
) -> Credit:
    """Return what a counter rose by since it was read; after a long silence, as interpolated."""
    if end - start > GAP_AFTER:
        return Credit(start, end, energy_mwh, Quality.INTERPOLATED, reason or Reason.GAP)
    return Credit(start, end, energy_mwh, Quality.MEASURED, reason)
