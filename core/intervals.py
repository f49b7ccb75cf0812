"""Energy per 15-minute slot: how it is spread over slots, and how parts of one slot add up."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from core.units import SLOT, slot_of, wh_of_mwh


class Quality(StrEnum):
    """How far an interval's energy can be trusted, best first."""

    MEASURED = "measured"
    INTERPOLATED = "interpolated"
    ESTIMATED = "estimated"
    MISSING = "missing"
    REJECTED = "rejected"


SELLABLE = frozenset({Quality.MEASURED, Quality.INTERPOLATED})
_RANK = {quality: rank for rank, quality in enumerate(Quality)}


class Reason(StrEnum):
    """What the meter did that a plain difference does not tell."""

    DIP = "dip"
    RESET = "reset"
    ZERO = "zero"
    SPIKE = "spike"
    STEP = "step"
    GAP = "gap"
    POWER_ONLY = "power_only"


class Interval(Struct, frozen=True, gc=False):
    """What was generated, and left over to sell, in one slot: exact milliwatt-hours.

    `early_mwh`: the part of the surplus from before the device earned (`core.earning`).
    """

    generated_mwh: int
    surplus_mwh: int
    quality: Quality
    reasons: frozenset[Reason] = frozenset()
    early_mwh: int = 0

    @property
    def sellable_wh(self) -> Decimal:
        if self.quality not in SELLABLE:
            return Decimal(0)
        return wh_of_mwh(self.surplus_mwh - self.early_mwh)

    def __add__(self, other: "Interval") -> "Interval":
        """Both parts of one slot; commutative and associative, so that order never matters.

        The quality is the worst of the parts that carry energy: a refused spike beside good
        energy leaves its reason, it does not spoil what was measured.
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
        """What is left of it without the energy of `other`: less than nothing, if that is more."""
        return replace(
            self,
            generated_mwh=self.generated_mwh - other.generated_mwh,
            surplus_mwh=self.surplus_mwh - other.surplus_mwh,
            early_mwh=self.early_mwh - other.early_mwh,
        )


def _doubt(part: Interval) -> tuple[bool, int]:
    return (part.generated_mwh > 0 or part.surplus_mwh > 0, _RANK[part.quality])


def spread(start: datetime, end: datetime, energy_mwh: int) -> Iterable[tuple[datetime, int]]:
    """Share energy evenly over (start, end], slot by slot: (slot start, milliwatt-hours).

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
