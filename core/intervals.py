"""Energy per 15-minute slot: credits of counters, their spread over slots, sums within a slot."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from core.units import SLOT, slot_of, wh_of_mwh

# Energy over a longer silence is interpolated. A counter that is unchanged for longer, while power
# flows, has stalled.
GAP_AFTER = 2 * SLOT


class Quality(StrEnum):
    """The trust in an interval's energy, best first."""

    MEASURED = "measured"
    INTERPOLATED = "interpolated"
    ESTIMATED = "estimated"
    MISSING = "missing"
    REJECTED = "rejected"


# Energy of any other quality is recorded, but never sold.
SELLABLE = frozenset({Quality.MEASURED, Quality.INTERPOLATED})
_RANK = {quality: rank for rank, quality in enumerate(Quality)}


class Reason(StrEnum):
    """An event at the meter that the energy alone does not show."""

    DIP = "dip"
    RESET = "reset"
    ZERO = "zero"
    SPIKE = "spike"
    STEP = "step"
    GAP = "gap"
    POWER_ONLY = "power_only"


class Interval(Struct, frozen=True, gc=False):
    """The energy of one slot, generated and surplus, in exact milliwatt-hours."""

    generated_mwh: int
    # Energy that can be sold: exported energy, or all of it where no export is counted.
    surplus_mwh: int
    quality: Quality
    reasons: frozenset[Reason] = frozenset()
    # The part of the surplus from before the device earned (`core.earning`).
    early_mwh: int = 0

    @property
    def sellable_wh(self) -> Decimal:
        if self.quality not in SELLABLE:
            return Decimal(0)
        return wh_of_mwh(self.surplus_mwh - self.early_mwh)

    def __add__(self, other: "Interval") -> "Interval":
        """Add two parts of one slot. Commutative and associative: the order never matters.

        The quality is the worst of the parts that carry energy. A rejected spike beside measured
        energy adds its reason and leaves the quality as it is.
        """
        alike = self.quality is other.quality
        return Interval(
            self.generated_mwh + other.generated_mwh,
            self.surplus_mwh + other.surplus_mwh,
            self.quality if alike else max(self, other, key=_doubt).quality,
            self.reasons | other.reasons,
            self.early_mwh + other.early_mwh,
        )

    def __sub__(self, other: "Interval") -> "Interval":
        """Subtract the energy of `other`; the result may be negative."""
        return replace(
            self,
            generated_mwh=self.generated_mwh - other.generated_mwh,
            surplus_mwh=self.surplus_mwh - other.surplus_mwh,
            early_mwh=self.early_mwh - other.early_mwh,
        )


def _doubt(part: Interval) -> tuple[bool, int]:
    return (part.generated_mwh > 0 or part.surplus_mwh > 0, _RANK[part.quality])


def spread(start: datetime, end: datetime, energy_mwh: int) -> Iterable[tuple[datetime, int]]:
    """Spread energy evenly over (start, end]; return (slot start, milliwatt-hours) per slot.

    Shares are differences of one rounded running total, so they add up to the whole exactly.
    """
    slot = slot_of(start)
    if end <= slot + SLOT:
        return ((slot, energy_mwh),)
    return _shared(slot, start, end, energy_mwh)


def _shared(
    slot: datetime, start: datetime, end: datetime, energy_mwh: int
) -> Iterator[tuple[datetime, int]]:
    duration = end - start
    shared = 0
    while slot < end:
        until = min(end, slot + SLOT)
        running = energy_mwh * ((until - start) // _TICK) // (duration // _TICK)
        yield slot, running - shared
        shared = running
        slot += SLOT


_TICK = datetime.resolution


class Credit(Struct, frozen=True, gc=False):
    """Energy of one counter, generated evenly from `start` to `end`.

    Stored in the database as part of `core.steps.LowRun`: its field names never change.
    """

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
    """Return the credit of a rise since the previous reading, interpolated after a gap."""
    if end - start > GAP_AFTER:
        return Credit(start, end, energy_mwh, Quality.INTERPOLATED, reason or Reason.GAP)
    return Credit(start, end, energy_mwh, Quality.MEASURED, reason)
