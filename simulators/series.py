"""Recorded values in order of time, and energies per interval as the counter that gave them."""

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
class SeriesSegment:
    """Energy over an interval. `drawn_wh` None: the load is not known, so neither is a surplus."""

    begins: datetime
    lasts: timedelta
    generated_wh: Decimal
    drawn_wh: Decimal | None

    @property
    def ends(self) -> datetime:
        return self.begins + self.lasts


def in_order(readings: Sequence[Reading]) -> tuple[list[Reading], int]:
    """By time, and how many repeat another's time: they are sent too, and the hub counts once."""
    ordered = sorted(readings, key=time_of)
    return ordered, len(ordered) - len({time_of(reading) for reading in ordered})


def cumulated(stretches: Sequence[SeriesSegment]) -> tuple[list[Reading], int]:
    """Counters that rise by each interval's energy, and how many intervals repeat another's start.

    A reading at the end of each interval, and one where it begins unless another ended there: all
    of its energy falls into it. Of intervals with the same start the first counts, since a counter
    can't be made of both.
    """
    distinct = {stretch.begins: stretch for stretch in reversed(stretches)}
    total = _Total(exports=any(stretch.drawn_wh is not None for stretch in stretches))
    readings: list[Reading] = []
    for begins in sorted(distinct):
        if not readings or time_of(readings[-1]) < begins:
            readings.append(total.reading(begins))
        readings.append(total.after(distinct[begins]))
    return readings, len(stretches) - len(distinct)


@dataclass(slots=True)
class _Total:
    """The counters so far. Without any load recorded there is no export counter to show."""

    exports: bool
    generated_wh: Decimal = Decimal(0)
    exported_wh: Decimal = Decimal(0)
    imported_wh: Decimal = Decimal(0)

    def after(self, stretch: SeriesSegment) -> Reading:
        generated_wh, drawn_wh = stretch.generated_wh, stretch.drawn_wh
        self.generated_wh += generated_wh
        if drawn_wh is not None:
            self.exported_wh += max(Decimal(0), generated_wh - drawn_wh)
            self.imported_wh += max(Decimal(0), drawn_wh - generated_wh)
        hours = Decimal(stretch.lasts / _HOUR)
        load_w = None if drawn_wh is None else float(drawn_wh / hours)
        return self.reading(stretch.ends, float(generated_wh / hours), load_w)

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
    """The highest power that was recorded, or at which a counter rose.

    A counter that was read late rises faster than the power beside it: up to twice its peak is
    taken for that, more for a counter that jumped.
    """
    power_w = max((r.power_w for r in readings if r.power_w is not None), default=0.0)
    rates_w = (_rate_w(earlier, later) for earlier, later in pairwise(readings))
    believed_w = 2 * power_w or inf
    return max([power_w, *(rate_w for rate_w in rates_w if rate_w <= believed_w)])


def _rate_w(earlier: Reading, later: Reading) -> float:
    hours = (time_of(later) - time_of(earlier)) / _HOUR
    values = (
        (earlier.energy_wh, later.energy_wh),
        (earlier.export_wh, later.export_wh),
    )
    rises = [after - before for before, after in values if before is not None and after is not None]
    return max(rises, default=0.0) / hours if hours else 0.0


def first_and_last(readings: Iterable[Reading]) -> tuple[datetime, datetime]:
    """When a recording begins and ends."""
    times = [time_of(reading) for reading in readings]
    return min(times), max(times)


def shifted(
    series: dict[str, list[Reading]], now: datetime, *, align: bool
) -> dict[str, list[Reading]]:
    """The same readings, moved so that the last is of now, give or take a slot.

    They move by whole slots: what was measured in one slot stays in one. With `align` each
    device's readings move by themselves, which makes neighbours of homes that were recorded in
    different years and zones.
    """
    _, ends = first_and_last(reading for readings in series.values() for reading in readings)
    moved: dict[str, list[Reading]] = {}
    for device, readings in series.items():
        by = (now - (first_and_last(readings)[1] if align else ends)) // SLOT * SLOT
        moved[device] = [replace(reading, time=time_of(reading) + by) for reading in readings]
    return moved


def older_than(series: dict[str, list[Reading]], horizon: datetime) -> int:
    """How many readings were taken before `horizon`."""
    return sum(time_of(reading) < horizon for readings in series.values() for reading in readings)


def time_of(reading: Reading) -> datetime:
    """When a recorded reading was taken: it always has a time."""
    assert reading.time is not None
    return reading.time
