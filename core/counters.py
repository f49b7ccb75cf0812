"""The state of one lifetime counter of a meter, and the context in which it is read.

`core.counter_rules` decides what the next value of a counter credits.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from core.counted_since import CountedSince
from core.intervals import GAP_AFTER
from core.steps import LowRun
from core.units import mwh_of_wh


class SuspectLevel(Struct, frozen=True, omit_defaults=True, gc=False):
    """A level too high to be possible, until enough consecutive readings agree with it.

    Stored in the database as part of `Counter`: its field names never change.
    """

    level_mwh: int
    # Time of the first reading at this level.
    at: datetime
    readings: int


class Counter(Struct, frozen=True, omit_defaults=True, gc=False):
    """The state of one lifetime counter after its last reading.

    Stored in the database as part of `core.accounting.AccountingState`, in JSON: field names never
    change, and a new field has a default.
    """

    # Time of the last reading that was not rejected.
    at: datetime
    # The mark: the value up to which energy is credited. Lower readings credit nothing.
    mark_mwh: int
    # Time at which the counter rose to the mark. Later, if energy was credited ahead of the
    # capacity: the time at which the capacity covers it.
    marked_at: datetime
    suspect: SuspectLevel | None = None
    # The mark that the counter would have without a move to another level (a level that readings
    # agreed on, or a step down). A counter that returns is not credited up to here again.
    earned_mwh: int | None = None
    # Energy credited since the move up to a level that readings agreed on. If that level was
    # garbage and the counter was at 0 before, its value after it returns includes this energy.
    on_level_mwh: int | None = None
    # Energy generated since the counter last rose, as power shows it.
    unshown_mwh: int = 0
    # Time since which the counter should have risen by its resolution; at most one day ago.
    stalled_at: datetime | None = None
    # The mark from which the counter last stepped down, until it rises to it again.
    stepped_from_mwh: int | None = None
    # Readings below the mark that may turn out to be a step down.
    low: LowRun | None = None
    # The time since which the counter counts, if its meter reports that.
    counted: CountedSince | None = None

    @property
    def unread_since(self) -> datetime:
        """The start of the energy that the next value shows: the last reading, or the stall."""
        return self.stalled_at or self.at

    @property
    def settled_until(self) -> datetime:
        """The time before which no later reading of this counter credits energy."""
        if self.low is not None and self.low.held:
            return min(self.unread_since, self.low.held[0].start)
        return self.unread_since


class ReadingContext(Struct, frozen=True, gc=False):
    """The facts about one reading of a device that the rules of a counter depend on."""

    at: datetime
    # Time of the device's previous reading, whether or not it reported this counter.
    last_at: datetime
    capacity_w: float
    # Time at full capacity that generates the energy shown by power since `last_at`. None if power
    # says nothing about this counter.
    full_load_time: timedelta | None = None
    # Time since which this counter counts, if the meter reports that.
    counts_since: datetime | None = None


def is_unchanged(counter: Counter | None, value_wh: float | None) -> bool:
    """Return True if the value equals the counter's mark."""
    return counter is not None and value_wh is not None and mwh_of_wh(value_wh) == counter.mark_mwh


def possible_since(counter: Counter, context: ReadingContext) -> datetime:
    """Return the earliest time at which energy above the mark may have been generated."""
    oldest = context.last_at - GAP_AFTER
    return counter.marked_at if counter.marked_at > oldest else oldest
