"""A counter that steps down: what is held of its low readings until three of them have risen.

Some counters fall now and then by far more than a meter jitters, but by less than a tenth, and
count on from there. A run of low readings begins with the first of them. Once three of it have
risen, each by what is possible since the one before, over half an hour or more, the counter has
stepped down: what they rose by is credited to the slots that they rose in.

Readings of exactly 0 say nothing of a run, and one that falls a little is a dip of it. A reading
that falls or rises by more begins the next run. So does what rises only now and then: no run holds
energy of more than a day, so that no late reading has to go back further.
"""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from core.capacity import capable_mwh, is_possible, made_up_for
from core.credits import Credit, difference
from core.intervals import Reason
from core.units import SLOT, slot_of

# A step is more than that, and more than the capacity makes in an hour.
LEAST_STEP_MWH = 1_000_000
RISING_READINGS = 3
RISING_FOR = timedelta(minutes=30)
HELD_FOR_MAX = timedelta(days=1)

MWH_PER_WH = 1000


class LowRun(Struct, frozen=True, omit_defaults=True, gc=False):
    """Readings below a counter's mark, the first of them at `since`.

    `level_mwh`: the highest of them. `marked_at`: when it rose to that, or later, until the
    capacity has made up for it. `readings`: how many rose, the first included. `held`: what they
    rose by, slot by slot, which is credited if the counter turns out to have stepped down.
    """

    since: datetime
    level_mwh: int
    marked_at: datetime
    readings: int = 1
    held: tuple[Credit, ...] = ()

    @property
    def held_mwh(self) -> int:
        return sum(credit.energy_mwh for credit in self.held)

    def is_step(self, at: datetime) -> bool:
        """Whether it shows that the counter stepped down."""
        return self.readings >= RISING_READINGS and at - self.since >= RISING_FOR

    def is_over(self, at: datetime) -> bool:
        """Whether it holds energy that is too old for it to go on."""
        return bool(self.held) and at - self.held[0].start > HELD_FOR_MAX

    def after(
        self,
        value_mwh: int,
        read_at: datetime,
        earliest: datetime,
        at: datetime,
        capacity_w: float,
    ) -> "LowRun | None":
        """Return the run with one more low reading; None: that is none of it.

        `read_at`: when the counter was read before. `earliest`: no time before counts.
        """
        if self.is_over(at):
            return None
        rise_mwh = value_mwh - self.level_mwh
        if rise_mwh <= 0:
            return self if -rise_mwh <= least_step_mwh(capacity_w) else None
        ahead_mwh = rise_mwh - capable_mwh(at - max(self.marked_at, earliest), capacity_w)
        if not is_possible(self.level_mwh, value_mwh, ahead_mwh):
            return None
        return replace(
            self,
            level_mwh=value_mwh,
            marked_at=made_up_for(ahead_mwh, at, capacity_w),
            readings=self.readings + 1,
            held=_with(self.held, difference(read_at, at, rise_mwh, Reason.STEP)),
        )


def least_step_mwh(capacity_w: float) -> float:
    """Return what a counter must fall by, and a little, to have stepped down."""
    return max(LEAST_STEP_MWH, capacity_w * MWH_PER_WH)


def _with(held: tuple[Credit, ...], credit: Credit) -> tuple[Credit, ...]:
    """Return held credits and one more: few, since those within one slot are one."""
    if not held or credit.end > slot_of(held[-1].start) + SLOT:
        return (*held, credit)
    *before, last = held
    energy_mwh = last.energy_mwh + credit.energy_mwh
    return (*before, replace(last, end=credit.end, energy_mwh=energy_mwh))
