"""The rules for one lifetime counter: the credits of its next value.

`core.accounting` lists the rules.

A rise is possible if `core.capacity` allows it in the time since the counter last rose. That time
begins at most half an hour before the device's previous reading. Energy credited ahead of the
capacity is taken from the time that follows (`Counter.marked_at`). So the sum of all credits stays
within the capacity and one resolution step, however often a device reports.

Two cases that the list leaves open:

- A counter that has only ever shown 0 has no known level, unless it counts up from 0. Its first
  impossible value, once the next reading agrees, becomes its level.
- A counter that is unchanged for more than two slots, while power flows, has stalled. Its slots are
  a gap, and its next rise is spread over them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import gcd

from msgspec.structs import replace

from core.capacity import (
    CAPACITY_MARGIN,
    RESOLUTION_MAX_MWH,
    RESOLUTION_MIN_MWH,
    covered_at,
    energy_limit_mwh,
    is_possible,
    produced_mwh,
)
from core.counted_since import CountedSince
from core.counters import Counter, ReadingContext, SuspectLevel, possible_since
from core.intervals import GAP_AFTER, Credit, Quality, Reason, difference
from core.steps import LowRun, step_min_mwh
from core.units import mwh_of_wh

# A fall to this part of the mark or more is a dip; a deeper fall is a reset.
DIP_FLOOR_PCT = 90
# Energy of a longer stall is spread over this time only: no late reading has to go back further.
STALLED_FOR_MAX = timedelta(days=1)
# Offsets of time zones are whole quarters of an hour, from -12 to +14 hours.
ZONE_STEP = timedelta(minutes=15)
ZONE_SHIFT_MAX = timedelta(hours=26)
# Consecutive readings that must agree before an impossible level becomes the mark.
AGREEING_READINGS = 3

CounterUpdate = tuple[Counter | None, Sequence[Credit]]
_Outcome = tuple[Counter, Sequence[Credit]]


def update(
    counter: Counter | None, value_wh: float | None, context: ReadingContext
) -> CounterUpdate:
    """Return the counter after its next value, and the credits of that value, by time."""
    if value_wh is None:
        return counter, ()
    value_mwh = mwh_of_wh(value_wh)
    if counter is None:
        at, since = context.at, context.counts_since
        counted = CountedSince(since, at) if since is not None else None
        return Counter(at, value_mwh, at, counted=counted), ()
    if counter.counted is None and context.counts_since is None:
        return _next(counter, value_mwh, context)
    return _next_counted(counter, value_mwh, context)


def _next(counter: Counter, value_mwh: int, context: ReadingContext) -> _Outcome:
    if value_mwh > counter.mark_mwh:
        return _rise(counter, value_mwh, context)
    if value_mwh == counter.mark_mwh:
        return _unchanged(counter, context)
    return _fall(counter, value_mwh, context)


def _next_counted(counter: Counter, value_mwh: int, context: ReadingContext) -> _Outcome:
    """Update a counter whose meter reports the time since which it counts; a change is a reset."""
    counted, since = counter.counted, context.counts_since
    if counted is None:
        assert since is not None
        after, credited = _next(counter, value_mwh, context)
        return replace(after, counted=CountedSince(since, context.at)), credited
    if since is None or since == counted.since:
        after, credited = _next(counter, value_mwh, context)
    elif value_mwh >= counter.mark_mwh and _is_zone_change(counted.since, since):
        after, credited = _next(counter, value_mwh, context)
        counted = replace(counted, since=since)
    else:
        after, credited = _restart(counter, counted, value_mwh, since, context)
        counted = replace(counted, since=since)
    energy_mwh = sum(credit.energy_mwh for credit in credited)
    return replace(after, counted=counted.credited(energy_mwh, context.at)), credited


def _is_zone_change(before: datetime, after: datetime) -> bool:
    """Return True if two times differ as the same local time does in two time zones.

    A meter reports a local time. Its owner may correct the zone, and a firmware its clock.
    """
    shift = abs(after - before)
    return shift <= ZONE_SHIFT_MAX and not shift % ZONE_STEP


def _restart(
    counter: Counter,
    counted: CountedSince,
    value_mwh: int,
    since: datetime,
    context: ReadingContext,
) -> _Outcome:
    """Restart the counter at a reset of known time.

    If the reset lies before the previous reading, the new value includes energy that was credited
    since the reset.
    """
    since_rise, unread_since = possible_since(counter, context), counter.unread_since
    if counter.at < since < context.at:
        restarted, credited = _restart_from(
            counter, value_mwh, value_mwh, max(since, since_rise), since, context
        )
        return restarted, (difference(unread_since, since, 0, Reason.RESET), *credited)
    credited_mwh = 0 if since >= context.at else counted.credited_since(since)
    energy_mwh = 0 if credited_mwh is None else max(0, value_mwh - credited_mwh)
    return _restart_from(counter, value_mwh, energy_mwh, since_rise, unread_since, context)


def _restart_from(
    counter: Counter,
    value_mwh: int,
    energy_mwh: int,
    since: datetime,
    start: datetime,
    context: ReadingContext,
) -> _Outcome:
    """Move the mark to a value, and credit energy from `start` on if possible since `since`."""
    limit_mwh = energy_limit_mwh(context.at - since, context.capacity_w)
    if not is_possible(counter.mark_mwh, value_mwh, energy_mwh - limit_mwh):
        energy_mwh = 0
    marked_at = covered_at(energy_mwh - limit_mwh, context.at, context.capacity_w)
    credit = difference(start, context.at, energy_mwh, Reason.RESET)
    return Counter(context.at, value_mwh, marked_at), (credit,)


def _unchanged(counter: Counter, context: ReadingContext) -> _Outcome:
    at, full_load_time = context.at, context.full_load_time
    unshown_mwh, stalled_at = 0, None
    if full_load_time is not None and counter.mark_mwh:
        unshown_mwh = counter.unshown_mwh + round(produced_mwh(full_load_time, context.capacity_w))
        stalled_at = _stalled_at(counter, unshown_mwh, at)
    unchanged = replace(
        counter, at=at, suspect=None, unshown_mwh=unshown_mwh, stalled_at=stalled_at, low=None
    )
    if stalled_at is None or at - stalled_at <= GAP_AFTER:
        return unchanged, (difference(counter.at, at, 0),)
    # The reading that detects the stall marks all slots since its start as a gap.
    start = stalled_at if counter.at - stalled_at <= GAP_AFTER else counter.at
    return unchanged, (Credit(start, at, 0, Quality.MISSING, Reason.GAP),)


def _stalled_at(counter: Counter, unshown_mwh: int, at: datetime) -> datetime | None:
    if counter.stalled_at is not None:
        return max(counter.stalled_at, at - STALLED_FOR_MAX)
    resolution_mwh = max(RESOLUTION_MIN_MWH, gcd(counter.mark_mwh, RESOLUTION_MAX_MWH))
    return counter.at if unshown_mwh > CAPACITY_MARGIN * resolution_mwh else None


def _rise(counter: Counter, value_mwh: int, context: ReadingContext) -> _Outcome:
    mark_mwh, at, capacity_w = counter.mark_mwh, context.at, context.capacity_w
    if counter.stepped_from_mwh is not None and _jumps_back(counter, value_mwh, capacity_w):
        return _jump_back(counter, value_mwh, context)
    rise_mwh = value_mwh - mark_mwh
    excess_mwh = rise_mwh - energy_limit_mwh(at - possible_since(counter, context), capacity_w)
    if not is_possible(mark_mwh, value_mwh, excess_mwh):
        return _reject_rise(counter, value_mwh, context)
    risen = Counter(at, value_mwh, covered_at(excess_mwh, at, capacity_w))
    if counter.earned_mwh is not None:
        risen = replace(
            risen,
            earned_mwh=counter.earned_mwh + rise_mwh,
            stepped_from_mwh=_step_mark_above(counter.stepped_from_mwh, value_mwh),
        )
    if counter.on_level_mwh is not None:
        risen = replace(risen, on_level_mwh=counter.on_level_mwh + rise_mwh)
    return risen, (difference(counter.unread_since, at, rise_mwh),)


def _step_mark_above(stepped_from_mwh: int | None, mark_mwh: int) -> int | None:
    """Return the mark before the step down, or None once the counter has risen to it."""
    is_above = stepped_from_mwh is not None and stepped_from_mwh > mark_mwh
    return stepped_from_mwh if is_above else None


def _jumps_back(counter: Counter, value_mwh: int, capacity_w: float) -> bool:
    """Return True if a rise undoes a step down: one rise larger than a step, to that mark."""
    assert counter.stepped_from_mwh is not None
    rise_mwh = value_mwh - counter.mark_mwh
    return value_mwh >= counter.stepped_from_mwh and rise_mwh > step_min_mwh(capacity_w)


def _jump_back(counter: Counter, value_mwh: int, context: ReadingContext) -> _Outcome:
    """Credit only the energy above all that was credited before the step and after it."""
    assert counter.earned_mwh is not None
    energy_mwh, at = max(0, value_mwh - counter.earned_mwh), context.at
    excess_mwh = energy_mwh - energy_limit_mwh(
        at - possible_since(counter, context), context.capacity_w
    )
    if not is_possible(counter.earned_mwh, value_mwh, excess_mwh):
        return _reject_rise(counter, value_mwh, context)
    marked_at = covered_at(excess_mwh, at, context.capacity_w)
    back = Counter(at, max(value_mwh, counter.earned_mwh), marked_at)
    return back, (difference(counter.unread_since, at, energy_mwh, Reason.STEP),)


def _fall(counter: Counter, value_mwh: int, context: ReadingContext) -> _Outcome:
    at, low, reason = context.at, counter.low, Reason.ZERO
    if value_mwh:
        if not _is_dip(counter.mark_mwh, value_mwh):
            return _reset(counter, value_mwh, context)
        low, reason = _next_low_run(counter, value_mwh, context), Reason.DIP
        if low is not None and low.is_step(at):
            return _step_down(counter, low, at)
    elif low is not None and low.is_over(at):
        low = None
    fallen = replace(counter, at=at, suspect=None, unshown_mwh=0, stalled_at=None, low=low)
    return fallen, (difference(counter.unread_since, at, 0, reason),)


def _is_dip(mark_mwh: int, value_mwh: int) -> bool:
    return 100 * value_mwh >= DIP_FLOOR_PCT * mark_mwh


def _next_low_run(counter: Counter, value_mwh: int, context: ReadingContext) -> LowRun | None:
    """Return the run of low readings with one more: extended, or opened by this reading."""
    if counter.low is not None:
        earliest = context.last_at - GAP_AFTER
        low = counter.low.extended(value_mwh, counter.at, earliest, context.at, context.capacity_w)
        if low is not None:
            return low
    if counter.mark_mwh - value_mwh <= step_min_mwh(context.capacity_w):
        return None
    return LowRun(context.at, value_mwh, max(context.at, counter.marked_at))


def _step_down(counter: Counter, low: LowRun, at: datetime) -> _Outcome:
    """Move the mark down to the level of the run, and credit the energy that the run holds."""
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


def _reset(counter: Counter, value_mwh: int, context: ReadingContext) -> _Outcome:
    at, capacity_w = context.at, context.capacity_w
    limit_mwh = energy_limit_mwh(at - possible_since(counter, context), capacity_w)
    is_credited = is_possible(counter.mark_mwh, value_mwh, value_mwh - limit_mwh)
    mark_mwh, energy_mwh = value_mwh, value_mwh if is_credited else 0
    earned_mwh = counter.earned_mwh
    if earned_mwh is not None and _is_dip(earned_mwh, value_mwh):
        # The counter returns from a garbage level: energy up to `earned_mwh` is credited already.
        energy_mwh = min(energy_mwh, max(0, value_mwh - earned_mwh))
        mark_mwh = max(value_mwh, earned_mwh)
    elif counter.on_level_mwh is not None and value_mwh >= counter.on_level_mwh:
        energy_mwh = min(energy_mwh, value_mwh - counter.on_level_mwh)
    marked_at = covered_at(energy_mwh - limit_mwh, at, capacity_w)
    credit = difference(counter.unread_since, at, energy_mwh, Reason.RESET)
    return Counter(at, mark_mwh, marked_at), (credit,)


def _reject_rise(counter: Counter, value_mwh: int, context: ReadingContext) -> _Outcome:
    """Reject an impossible rise, until three consecutive readings agree with it."""
    at, suspect = context.at, counter.suspect
    spike = Credit(counter.unread_since, at, 0, Quality.REJECTED, Reason.SPIKE)
    if suspect is None or value_mwh < suspect.level_mwh:
        return replace(counter, suspect=SuspectLevel(value_mwh, at, 1)), (spike,)
    since = max(suspect.at, context.last_at - GAP_AFTER)
    rise_mwh = value_mwh - suspect.level_mwh
    excess_mwh = rise_mwh - energy_limit_mwh(at - since, context.capacity_w)
    if not is_possible(suspect.level_mwh, value_mwh, excess_mwh):
        return replace(counter, suspect=SuspectLevel(value_mwh, at, 1)), (spike,)
    if not counter.mark_mwh:
        # The counter had only ever shown 0: the suspect level is its first known one.
        marked_at = covered_at(excess_mwh, at, context.capacity_w)
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
        stepped_from_mwh=_step_mark_above(counter.stepped_from_mwh, value_mwh),
        on_level_mwh=0,
    )
    return level, (spike,)
