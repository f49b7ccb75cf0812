"""One lifetime counter of a meter: what its next value credits, by the accountant's table.

Possible is what `core.capacity` allows in the time since the counter rose, or since half an hour
before the device's last reading, if that is later. What was credited ahead of the capacity is taken
from the time that follows (`Counter.marked_at`). So all that is ever credited stays within what the
capacity allows and one count, however often a device reports.

Two things the table leaves open:

- A counter that has only ever shown 0 has not been read yet, unless it counts on from there: what
  it shows first, once the next reading agrees, is where it begins.
- A counter that stands still for more than two slots, while power says that it should have counted,
  was not read in that time: its slots are a gap, and what it shows next is spread over them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import gcd

from msgspec import Struct
from msgspec.structs import replace

from core.capacity import (
    CAPACITY_MARGIN,
    LEAST_COUNT_MWH,
    MOST_COUNT_MWH,
    capable_mwh,
    is_possible,
    made_mwh,
    made_up_for,
)
from core.counted_since import CountedSince
from core.credits import GAP_AFTER, Credit, difference
from core.intervals import Quality, Reason
from core.steps import LowRun, least_step_mwh
from core.units import mwh_of_wh

DIP_FLOOR_PCT = 90
STALLED_FOR_MAX = timedelta(days=1)
AGREEING_READINGS = 3


class SuspectLevel(Struct, frozen=True, omit_defaults=True, gc=False):
    """A level that is too high to be true until enough readings in a row agree with it.

    `at`: when it was first shown.
    """

    level_mwh: int
    at: datetime
    readings: int


class Counter(Struct, frozen=True, omit_defaults=True, gc=False):
    """What is known of one lifetime counter. `at`: its last reading that was no spike.

    `marked_at`: when it rose to the mark; or later, until the capacity has made up for what was
    credited ahead of it.

    `earned_mwh`: after it has moved to another level (that three readings agreed on, or that it
    stepped down to), the mark that it would have without. When it comes back, what was credited
    before is not credited again. `stepped_from_mwh`: the mark that it last stepped down from.

    `on_level_mwh`: what was credited since it moved up to a level that readings agreed on. If that
    was garbage and the counter was at 0 before, what it shows when it comes back includes this.

    `low`: readings below the mark that may be a step down.

    `unshown_mwh`: what power says was generated since the counter rose. `stalled_at`: since when
    that is more than it can keep to itself until its next count, a day at most.

    `counted`: what the meter itself says that the counter counts since, if it does.
    """

    at: datetime
    mark_mwh: int
    marked_at: datetime
    suspect: SuspectLevel | None = None
    earned_mwh: int | None = None
    on_level_mwh: int | None = None
    unshown_mwh: int = 0
    stalled_at: datetime | None = None
    stepped_from_mwh: int | None = None
    low: LowRun | None = None
    counted: CountedSince | None = None

    @property
    def unread_since(self) -> datetime:
        """What it shows next was generated after this: its last reading, unless it stalled."""
        return self.stalled_at or self.at

    @property
    def settled_until(self) -> datetime:
        """No later reading of it credits anything before this."""
        if self.low is not None and self.low.held:
            return min(self.unread_since, self.low.held[0].start)
        return self.unread_since


class Moment(Struct, frozen=True, gc=False):
    """When a device was read, and `last_at`: when it was before, whatever it told of then.

    `worked`: how long the capacity takes for what power says was generated since then. None: that
    tells nothing of this counter.

    `counts_since`: since when this counter counts, as the meter itself says; None: it doesn't.
    """

    at: datetime
    last_at: datetime
    capacity_w: float
    worked: timedelta | None = None
    counts_since: datetime | None = None


Read = tuple[Counter | None, Sequence[Credit]]
_Outcome = tuple[Counter, Sequence[Credit]]


def stands(counter: Counter | None, value_wh: float | None) -> bool:
    """Whether the counter shows what it showed at most so far."""
    return counter is not None and value_wh is not None and mwh_of_wh(value_wh) == counter.mark_mwh


def read(counter: Counter | None, value_wh: float | None, moment: Moment) -> Read:
    """Return what a counter is after its next value, and what that credits, by time."""
    if value_wh is None:
        return counter, ()
    value_mwh = mwh_of_wh(value_wh)
    if counter is None:
        at, since = moment.at, moment.counts_since
        counted = CountedSince(since, at) if since is not None else None
        return Counter(at, value_mwh, at, counted=counted), ()
    if counter.counted is None and moment.counts_since is None:
        return _next(counter, value_mwh, moment)
    return _next_counted(counter, value_mwh, moment)


def _next(counter: Counter, value_mwh: int, moment: Moment) -> _Outcome:
    if value_mwh > counter.mark_mwh:
        return _rise(counter, value_mwh, moment)
    if value_mwh == counter.mark_mwh:
        return _stand(counter, moment)
    return _fall(counter, value_mwh, moment)


def _next_counted(counter: Counter, value_mwh: int, moment: Moment) -> _Outcome:
    """The same of a counter whose meter says since when it counts: anew, if that has changed."""
    counted, since = counter.counted, moment.counts_since
    if counted is None:
        assert since is not None
        after, credited = _next(counter, value_mwh, moment)
        return replace(after, counted=CountedSince(since, moment.at)), credited
    if since is None or since == counted.since:
        after, credited = _next(counter, value_mwh, moment)
    else:
        after, credited = _begin_anew(counter, counted, value_mwh, since, moment)
        counted = replace(counted, since=since)
    energy_mwh = sum(credit.energy_mwh for credit in credited)
    return replace(after, counted=counted.credited(energy_mwh, moment.at)), credited


def _begin_anew(
    counter: Counter, counted: CountedSince, value_mwh: int, since: datetime, moment: Moment
) -> _Outcome:
    """Count from a reset whose time is known. Where that is before the last reading, what was
    credited since then is part of what the counter shows."""
    since_rise, unread_since = rose_at(counter, moment), counter.unread_since
    if counter.at < since < moment.at:
        anew, credited = _from(counter, value_mwh, value_mwh, max(since, since_rise), since, moment)
        return anew, (difference(unread_since, since, 0, Reason.RESET), *credited)
    credited_mwh = 0 if since >= moment.at else counted.credited_since(since)
    energy_mwh = 0 if credited_mwh is None else max(0, value_mwh - credited_mwh)
    return _from(counter, value_mwh, energy_mwh, since_rise, unread_since, moment)


def _from(
    counter: Counter,
    value_mwh: int,
    energy_mwh: int,
    since: datetime,
    start: datetime,
    moment: Moment,
) -> _Outcome:
    """Move the mark to a value, and credit energy from `start` if it was possible since `since`."""
    capable = capable_mwh(moment.at - since, moment.capacity_w)
    if not is_possible(counter.mark_mwh, value_mwh, energy_mwh - capable):
        energy_mwh = 0
    marked_at = made_up_for(energy_mwh - capable, moment.at, moment.capacity_w)
    credit = difference(start, moment.at, energy_mwh, Reason.RESET)
    return Counter(moment.at, value_mwh, marked_at), (credit,)


def rose_at(counter: Counter, moment: Moment) -> datetime:
    """Since when what is above the mark may have been generated."""
    oldest = moment.last_at - GAP_AFTER
    return counter.marked_at if counter.marked_at > oldest else oldest


def _stand(counter: Counter, moment: Moment) -> _Outcome:
    at, worked = moment.at, moment.worked
    unshown_mwh, stalled_at = 0, None
    if worked is not None and counter.mark_mwh:
        unshown_mwh = counter.unshown_mwh + round(made_mwh(worked, moment.capacity_w))
        stalled_at = _stalled_at(counter, unshown_mwh, at)
    stood = replace(
        counter, at=at, suspect=None, unshown_mwh=unshown_mwh, stalled_at=stalled_at, low=None
    )
    if stalled_at is None or at - stalled_at <= GAP_AFTER:
        return stood, (difference(counter.at, at, 0),)
    # Once it is clear that it stalled, so are the slots until then.
    start = stalled_at if counter.at - stalled_at <= GAP_AFTER else counter.at
    return stood, (Credit(start, at, 0, Quality.MISSING, Reason.GAP),)


def _stalled_at(counter: Counter, unshown_mwh: int, at: datetime) -> datetime | None:
    if counter.stalled_at is not None:
        return max(counter.stalled_at, at - STALLED_FOR_MAX)
    count_mwh = max(LEAST_COUNT_MWH, gcd(counter.mark_mwh, MOST_COUNT_MWH))
    return counter.at if unshown_mwh > CAPACITY_MARGIN * count_mwh else None


def _rise(counter: Counter, value_mwh: int, moment: Moment) -> _Outcome:
    mark_mwh, at, capacity_w = counter.mark_mwh, moment.at, moment.capacity_w
    if counter.stepped_from_mwh is not None and _jumps_back(counter, value_mwh, capacity_w):
        return _jump_back(counter, value_mwh, moment)
    rise_mwh = value_mwh - mark_mwh
    ahead_mwh = rise_mwh - capable_mwh(at - rose_at(counter, moment), capacity_w)
    if not is_possible(mark_mwh, value_mwh, ahead_mwh):
        return _suspect(counter, value_mwh, moment)
    risen = Counter(at, value_mwh, made_up_for(ahead_mwh, at, capacity_w))
    if counter.earned_mwh is not None:
        risen = replace(
            risen,
            earned_mwh=counter.earned_mwh + rise_mwh,
            stepped_from_mwh=_still_above(counter.stepped_from_mwh, value_mwh),
        )
    if counter.on_level_mwh is not None:
        risen = replace(risen, on_level_mwh=counter.on_level_mwh + rise_mwh)
    return risen, (difference(counter.unread_since, at, rise_mwh),)


def _still_above(stepped_from_mwh: int | None, mark_mwh: int) -> int | None:
    """The mark that the counter stepped down from, until it has counted up to there again."""
    is_above = stepped_from_mwh is not None and stepped_from_mwh > mark_mwh
    return stepped_from_mwh if is_above else None


def _jumps_back(counter: Counter, value_mwh: int, capacity_w: float) -> bool:
    """Whether it rises to where it stepped down from in one leap, as high as a step is."""
    assert counter.stepped_from_mwh is not None
    rise_mwh = value_mwh - counter.mark_mwh
    return value_mwh >= counter.stepped_from_mwh and rise_mwh > least_step_mwh(capacity_w)


def _jump_back(counter: Counter, value_mwh: int, moment: Moment) -> _Outcome:
    """Credit what exceeds all that was credited before the step and since."""
    assert counter.earned_mwh is not None
    energy_mwh, at = max(0, value_mwh - counter.earned_mwh), moment.at
    ahead_mwh = energy_mwh - capable_mwh(at - rose_at(counter, moment), moment.capacity_w)
    if not is_possible(counter.earned_mwh, value_mwh, ahead_mwh):
        return _suspect(counter, value_mwh, moment)
    marked_at = made_up_for(ahead_mwh, at, moment.capacity_w)
    back = Counter(at, max(value_mwh, counter.earned_mwh), marked_at)
    return back, (difference(counter.unread_since, at, energy_mwh, Reason.STEP),)


def _fall(counter: Counter, value_mwh: int, moment: Moment) -> _Outcome:
    at, low, reason = moment.at, counter.low, Reason.ZERO
    if value_mwh:
        if not _is_dip(counter.mark_mwh, value_mwh):
            return _reset(counter, value_mwh, moment)
        low, reason = _low(counter, value_mwh, moment), Reason.DIP
        if low is not None and low.is_step(at):
            return _step_down(counter, low, at)
    elif low is not None and low.is_over(at):
        low = None
    fallen = replace(counter, at=at, suspect=None, unshown_mwh=0, stalled_at=None, low=low)
    return fallen, (difference(counter.unread_since, at, 0, reason),)


def _is_dip(mark_mwh: int, value_mwh: int) -> bool:
    return 100 * value_mwh >= DIP_FLOOR_PCT * mark_mwh


def _low(counter: Counter, value_mwh: int, moment: Moment) -> LowRun | None:
    """The run of low readings with one more: the same run, or the next."""
    if counter.low is not None:
        earliest = moment.last_at - GAP_AFTER
        low = counter.low.after(value_mwh, counter.at, earliest, moment.at, moment.capacity_w)
        if low is not None:
            return low
    if counter.mark_mwh - value_mwh <= least_step_mwh(moment.capacity_w):
        return None
    return LowRun(moment.at, value_mwh, max(moment.at, counter.marked_at))


def _step_down(counter: Counter, low: LowRun, at: datetime) -> _Outcome:
    """Move the mark down to what the counter has risen to since, and credit that."""
    earned_mwh = counter.mark_mwh if counter.earned_mwh is None else counter.earned_mwh
    stepped = Counter(
        at,
        low.level_mwh,
        low.marked_at,
        earned_mwh=earned_mwh + low.held_mwh,
        stepped_from_mwh=counter.mark_mwh,
    )
    if low.held[-1].end == at:
        return stepped, low.held
    return stepped, (*low.held, difference(counter.at, at, 0, Reason.STEP))


def _reset(counter: Counter, value_mwh: int, moment: Moment) -> _Outcome:
    at, capacity_w = moment.at, moment.capacity_w
    capable = capable_mwh(at - rose_at(counter, moment), capacity_w)
    is_credited = is_possible(counter.mark_mwh, value_mwh, value_mwh - capable)
    mark_mwh, energy_mwh = value_mwh, value_mwh if is_credited else 0
    earned_mwh = counter.earned_mwh
    if earned_mwh is not None and _is_dip(earned_mwh, value_mwh):
        # No reset: it comes back from garbage, and what it shows was credited up to there.
        energy_mwh = min(energy_mwh, max(0, value_mwh - earned_mwh))
        mark_mwh = max(value_mwh, earned_mwh)
    elif counter.on_level_mwh is not None and value_mwh >= counter.on_level_mwh:
        energy_mwh = min(energy_mwh, value_mwh - counter.on_level_mwh)
    marked_at = made_up_for(energy_mwh - capable, at, capacity_w)
    credit = difference(counter.unread_since, at, energy_mwh, Reason.RESET)
    return Counter(at, mark_mwh, marked_at), (credit,)


def _suspect(counter: Counter, value_mwh: int, moment: Moment) -> _Outcome:
    """Refuse a rise that is not possible, until three readings in a row agree."""
    at, suspect = moment.at, counter.suspect
    spike = Credit(counter.unread_since, at, 0, Quality.REJECTED, Reason.SPIKE)
    if suspect is None or value_mwh < suspect.level_mwh:
        return replace(counter, suspect=SuspectLevel(value_mwh, at, 1)), (spike,)
    since = max(suspect.at, moment.last_at - GAP_AFTER)
    rise_mwh = value_mwh - suspect.level_mwh
    ahead_mwh = rise_mwh - capable_mwh(at - since, moment.capacity_w)
    if not is_possible(suspect.level_mwh, value_mwh, ahead_mwh):
        return replace(counter, suspect=SuspectLevel(value_mwh, at, 1)), (spike,)
    if not counter.mark_mwh:
        # It had only ever shown 0, and counts from what it showed then.
        marked_at = made_up_for(ahead_mwh, at, moment.capacity_w)
        begun = Counter(at, value_mwh, marked_at, on_level_mwh=rise_mwh)
        return begun, (difference(suspect.at, at, rise_mwh),)
    if suspect.readings + 1 < AGREEING_READINGS:
        first_at = at if rise_mwh else suspect.at
        again = SuspectLevel(value_mwh, first_at, suspect.readings + 1)
        return replace(counter, suspect=again), (spike,)
    level = Counter(
        at,
        value_mwh,
        max(at, counter.marked_at),
        earned_mwh=counter.mark_mwh if counter.earned_mwh is None else counter.earned_mwh,
        stepped_from_mwh=_still_above(counter.stepped_from_mwh, value_mwh),
        on_level_mwh=0,
    )
    return level, (spike,)
