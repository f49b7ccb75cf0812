"""Series of readings: ordering, counters made of energies per interval, peak power, shifts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from math import inf

from msgspec.structs import replace

from core.readings import Reading
from core.units import SLOT

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class IntervalEnergy:
    """Recorded energy of one interval."""

    begins: datetime
    duration: timedelta
    generated_wh: Decimal
    # None: the load was not recorded, so surplus is unknown too.
    consumed_wh: Decimal | None

    @property
    def ends(self) -> datetime:
        return self.begins + self.duration


def in_order(readings: Sequence[Reading]) -> tuple[list[Reading], int]:
    """Sort by time; return how many readings repeat the time of another, too.

    Repeated readings are replayed as well: the hub must ignore them.
    """
    ordered = sorted(readings, key=time_of)
    return ordered, len(ordered) - len({time_of(reading) for reading in ordered})


def counters_of(intervals: Sequence[IntervalEnergy]) -> tuple[list[Reading], int]:
    """Return readings of counters that rise by each interval's energy.

    There is a reading at the end of each interval, and one at its start unless another interval
    ended there. Of intervals with the same start only the first counts: a counter cannot contain
    both. The second value is the number of intervals that were left out for that.
    """
    distinct = {interval.begins: interval for interval in reversed(intervals)}
    total = _Total(exports=any(interval.consumed_wh is not None for interval in intervals))
    readings: list[Reading] = []
    for begins in sorted(distinct):
        if not readings or time_of(readings[-1]) < begins:
            readings.append(total.reading(begins))
        readings.append(total.after(distinct[begins]))
    return readings, len(intervals) - len(distinct)


@dataclass(slots=True)
class _Total:
    """The counters so far. If no load is recorded, there is no export counter."""

    exports: bool
    generated_wh: Decimal = Decimal(0)
    exported_wh: Decimal = Decimal(0)
    imported_wh: Decimal = Decimal(0)

    def after(self, interval: IntervalEnergy) -> Reading:
        """Add an interval, and return the reading at its end."""
        generated_wh, consumed_wh = interval.generated_wh, interval.consumed_wh
        self.generated_wh += generated_wh
        if consumed_wh is not None:
            self.exported_wh += max(Decimal(0), generated_wh - consumed_wh)
            self.imported_wh += max(Decimal(0), consumed_wh - generated_wh)
        hours = Decimal(interval.duration / _HOUR)
        load_w = None if consumed_wh is None else float(consumed_wh / hours)
        return self.reading(interval.ends, float(generated_wh / hours), load_w)

    def reading(
        self, at: datetime, power_w: float | None = None, load_w: float | None = None
    ) -> Reading:
        return Reading(
            time=at,
            power_w=power_w,
            load_w=load_w,
            energy_wh=float(self.generated_wh),
            export_wh=float(self.exported_wh) if self.exports else None,
            import_wh=float(self.imported_wh) if self.exports else None,
        )


def peak_w(readings: Sequence[Reading]) -> float:
    """Return the highest power that was recorded, or at which a counter rose.

    A counter that a logger reads late rises faster than the recorded power. Rates up to twice the
    peak of the recorded power count as that; higher ones are jumps of the counter and are ignored.
    """
    power_w = max((r.power_w for r in readings if r.power_w is not None), default=0.0)
    rates_w = (_rate_w(earlier, later) for earlier, later in pairwise(readings))
    plausible_w = 2 * power_w or inf
    return max([power_w, *(rate_w for rate_w in rates_w if rate_w <= plausible_w)])


def _rate_w(earlier: Reading, later: Reading) -> float:
    hours = (time_of(later) - time_of(earlier)) / _HOUR
    values = (
        (earlier.energy_wh, later.energy_wh),
        (earlier.export_wh, later.export_wh),
    )
    rises = [after - before for before, after in values if before is not None and after is not None]
    return max(rises, default=0.0) / hours if hours else 0.0


def first_and_last(readings: Iterable[Reading]) -> tuple[datetime, datetime]:
    """Return the first and the last time of the readings."""
    times = [time_of(reading) for reading in readings]
    return min(times), max(times)


def shifted(
    series: dict[str, list[Reading]], now: datetime, *, align: bool
) -> dict[str, list[Reading]]:
    """Move all readings so that the last one lies in the slot before or at `now`.

    They move by whole slots, so that readings of one slot stay in one. With `align` each device is
    moved separately, so that homes recorded in different years and zones become neighbours.
    """
    _, ends = first_and_last(reading for readings in series.values() for reading in readings)
    moved: dict[str, list[Reading]] = {}
    for device, readings in series.items():
        by = (now - (first_and_last(readings)[1] if align else ends)) // SLOT * SLOT
        moved[device] = [replace(reading, time=time_of(reading) + by) for reading in readings]
    return moved


def older_than(series: dict[str, list[Reading]], horizon: datetime) -> int:
    """Return the number of readings before `horizon`."""
    return sum(time_of(reading) < horizon for readings in series.values() for reading in readings)


def time_of(reading: Reading) -> datetime:
    """Return the time of a recorded reading, which always has one."""
    assert reading.time is not None
    return reading.time
