"""A counter that steps down: the run of low readings that may prove it, and the energy it holds.

Some counters fall now and then by far more than a meter jitters, but by less than a tenth, and
count on from there. The first low reading opens a run. The counter has stepped down once three
readings of the run have risen over half an hour or more, each by a possible amount. Then their
rises are credited to the slots in which they occurred.

A reading of exactly 0 does not change a run, and a small fall is a dip within it. A reading that
falls or rises by more opens the next run. A run holds at most one day of energy, so that no late
reading has to go back further.
"""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from core.capacity import covered_at, energy_limit_mwh, is_possible
from core.intervals import Credit, Reason, difference
from core.units import SLOT, slot_of

# A step exceeds both this and one hour at full capacity.
STEP_MIN_MWH = 1_000_000
RISING_READINGS = 3
RISING_FOR = timedelta(minutes=30)
HELD_FOR_MAX = timedelta(days=1)

MWH_PER_WH = 1000


class LowRun(Struct, frozen=True, omit_defaults=True, gc=False):
    """A run of readings below a counter's mark.

    Stored in the database as part of `core.counters.Counter`: its field names never change.
    """

    # Time of the first low reading.
    since: datetime
    # The highest reading of the run.
    level_mwh: int
    # Time at which the counter rose to the level, or at which the capacity covers that rise.
    marked_at: datetime
    # Number of readings that rose, the first included.
    readings: int = 1
    # Rises per slot, credited only if the run turns out to be a step.
    held: tuple[Credit, ...] = ()

    @property
    def held_mwh(self) -> int:
        return sum(credit.energy_mwh for credit in self.held)

    def is_step(self, at: datetime) -> bool:
        """Return True if the run proves that the counter stepped down."""
        return self.readings >= RISING_READINGS and at - self.since >= RISING_FOR

    def is_over(self, at: datetime) -> bool:
        """Return True if the oldest held energy exceeds the age limit, which ends the run."""
        return bool(self.held) and at - self.held[0].start > HELD_FOR_MAX

    def extended(
        self,
        value_mwh: int,
        read_at: datetime,
        earliest: datetime,
        at: datetime,
        capacity_w: float,
    ) -> "LowRun | None":
        """Return the run with one more low reading, or None if the reading opens another run.

        `read_at`: time of the counter's previous reading. `earliest`: the capacity before this
        time does not count.
        """
        if self.is_over(at):
            return None
        rise_mwh = value_mwh - self.level_mwh
        if rise_mwh <= 0:
            return self if -rise_mwh <= step_min_mwh(capacity_w) else None
        excess_mwh = rise_mwh - energy_limit_mwh(at - max(self.marked_at, earliest), capacity_w)
        if not is_possible(self.level_mwh, value_mwh, excess_mwh):
            return None
        return replace(
            self,
            level_mwh=value_mwh,
            marked_at=covered_at(excess_mwh, at, capacity_w),
            readings=self.readings + 1,
            held=_append_credit(self.held, difference(read_at, at, rise_mwh, Reason.STEP)),
        )


def step_min_mwh(capacity_w: float) -> float:
    """Return the fall that a step exceeds."""
    return max(STEP_MIN_MWH, capacity_w * MWH_PER_WH)


def _append_credit(held: tuple[Credit, ...], credit: Credit) -> tuple[Credit, ...]:
    """Append a credit, merged into the last one where both lie in one slot."""
    if not held or credit.end > slot_of(held[-1].start) + SLOT:
        return (*held, credit)
    *before, last = held
    energy_mwh = last.energy_mwh + credit.energy_mwh
    return (*before, replace(last, end=credit.end, energy_mwh=energy_mwh))
