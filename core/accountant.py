"""The energy accountant: readings in order of measurement time → energy per 15-minute slot.

Counters are the truth; power alone is an estimate. `advance` folds readings into an `Account`,
which is all that must be kept of the past: the fold of a history does not depend on where it is
cut, so a late reading is accounted by going back to an account from before it and folding again.
That, and that a (device, time) counts once, makes the result independent of arrival order.

What the meter does → what is counted (quality, reason):

- the counter rises by what is possible since its mark → the difference (measured)
- it falls, but stays at 90 % of its mark → 0 until it passes the mark again (measured, dip)
- it falls below that, and is not 0 → the new value if possible, else 0; the mark moves
  (measured, reset)
- it reads exactly 0 after a positive value → 0; the mark stays (measured, zero)
- it rises by more than is possible → 0; at the third reading in a row that agrees with the new
  level the mark moves there without credit (rejected, spike)
- nothing was read for more than two slots → the difference, evenly (interpolated, gap)
- power only, at most 5 minutes apart → trapezoid (estimated, power_only)
- power only, further apart → 0 (missing, gap)
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain

from core.intervals import Interval, Quality, Reason, spread
from core.readings import Reading
from core.units import SLOT, mwh_of_wh, slot_of

CAPACITY_MARGIN = 1.25
LEAST_RISE_MWH = 10_000
DIP_FLOOR_PCT = 90
GAP_AFTER = 2 * SLOT
POWER_GAP_AFTER = timedelta(minutes=5)
AGREEING_READINGS = 3

_MWH_PER_WS = 1000 / 3600


@dataclass(frozen=True, slots=True)
class Suspect:
    """A level that is too high to be true until enough readings in a row agree with it."""

    level_mwh: int
    at: datetime
    readings: int


@dataclass(frozen=True, slots=True)
class Counter:
    """What is known of one lifetime counter. `at`: its last reading that was no spike."""

    at: datetime
    mark_mwh: int
    marked_at: datetime
    suspect: Suspect | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """A device's past, as far as its future needs it."""

    last_at: datetime
    energy: Counter | None = None
    export: Counter | None = None
    power_w: float | None = None

    @property
    def settled_until(self) -> datetime:
        """No later reading adds energy before this: every slot that ends by then is final."""
        return min([self.last_at, *(c.at for c in (self.energy, self.export) if c is not None)])


@dataclass(slots=True)
class Accounted:
    """What a fold gives: what it adds to each slot that it touches, and where one can go back to.

    `checkpoints[slot]` is the account from before the first reading in that slot or after. Folding
    from it again gives every slot from there on whole.
    """

    account: Account
    intervals: dict[datetime, Interval]
    checkpoints: dict[datetime, Account]


@dataclass(frozen=True, slots=True)
class _Credit:
    """Energy of one counter between two readings."""

    start: datetime
    energy_mwh: int
    quality: Quality
    reason: Reason | None = None


def advance(
    account: Account | None, readings: Iterable[Reading], capacity_w: float
) -> Accounted | None:
    """Fold readings, sorted by time and all after `account.last_at`. None: there were none."""
    accounted: Accounted | None = None
    for reading in readings:
        assert reading.time is not None
        if accounted is None:
            accounted = Accounted(account or Account(reading.time), {}, {})
        _fold(accounted, reading, reading.time, capacity_w)
    return accounted


def _fold(accounted: Accounted, reading: Reading, at: datetime, capacity_w: float) -> None:
    before, intervals, slot = accounted.account, accounted.intervals, slot_of(at)
    if slot > slot_of(before.last_at):
        accounted.checkpoints[slot] = before
    energy, generated = _read(before.energy, reading.energy_wh, at, capacity_w)
    export, exported = _read(before.export, reading.export_wh, at, capacity_w)
    if energy is None and export is None:
        generated = _power_credit(before, reading, at)
    for part_slot, part in chain(
        _parts(generated, at, surplus=export is None), _parts(exported, at, generated=False)
    ):
        intervals[part_slot] = intervals[part_slot] + part if part_slot in intervals else part
    accounted.account = Account(at, energy, export, reading.power_w)


def _parts(
    credit: _Credit | None, end: datetime, *, generated: bool = True, surplus: bool = True
) -> Iterator[tuple[datetime, Interval]]:
    if credit is None:
        return
    reasons = frozenset([credit.reason]) if credit.reason else frozenset()
    for slot, mwh in spread(credit.start, end, credit.energy_mwh):
        yield (
            slot,
            Interval(mwh if generated else 0, mwh if surplus else 0, credit.quality, reasons),
        )


def _read(
    counter: Counter | None, value_wh: float | None, at: datetime, capacity_w: float
) -> tuple[Counter | None, _Credit | None]:
    """One counter's next value: what it is now, and what that credits."""
    if value_wh is None:
        return counter, None
    value_mwh = mwh_of_wh(value_wh)
    if counter is None:
        return Counter(at, value_mwh, at), None
    if counter.suspect is not None and _agrees(counter.suspect, value_mwh, at, capacity_w):
        return _suspect_again(counter, counter.suspect, value_mwh, at)
    if value_mwh >= counter.mark_mwh:
        return _rise(counter, value_mwh, at, capacity_w)
    return _fall(counter, value_mwh, at, capacity_w)


def _rise(
    counter: Counter, value_mwh: int, at: datetime, capacity_w: float
) -> tuple[Counter, _Credit]:
    rise_mwh = value_mwh - counter.mark_mwh
    if rise_mwh > _possible_mwh(at - counter.marked_at, capacity_w):
        suspect = Suspect(value_mwh, at, 1)
        return replace(counter, suspect=suspect), _spike(counter)
    return Counter(at, value_mwh, at), _difference(counter, rise_mwh, at)


def _fall(
    counter: Counter, value_mwh: int, at: datetime, capacity_w: float
) -> tuple[Counter, _Credit]:
    if value_mwh == 0:
        kept = Counter(at, counter.mark_mwh, counter.marked_at)
        return kept, _difference(counter, 0, at, Reason.ZERO)
    if 100 * value_mwh >= DIP_FLOOR_PCT * counter.mark_mwh:
        kept = Counter(at, counter.mark_mwh, counter.marked_at)
        return kept, _difference(counter, 0, at, Reason.DIP)
    possible = value_mwh <= _possible_mwh(at - counter.at, capacity_w)
    return Counter(at, value_mwh, at), _difference(
        counter, value_mwh if possible else 0, at, Reason.RESET
    )


def _difference(
    counter: Counter, energy_mwh: int, at: datetime, reason: Reason | None = None
) -> _Credit:
    """Energy since the counter's last reading; after a long silence, only interpolated."""
    if at - counter.at > GAP_AFTER:
        return _Credit(counter.at, energy_mwh, Quality.INTERPOLATED, reason or Reason.GAP)
    return _Credit(counter.at, energy_mwh, Quality.MEASURED, reason)


def _possible_mwh(elapsed: timedelta, capacity_w: float) -> float:
    return capacity_w * CAPACITY_MARGIN * elapsed.total_seconds() * _MWH_PER_WS + LEAST_RISE_MWH


def _spike(counter: Counter) -> _Credit:
    return _Credit(counter.at, 0, Quality.REJECTED, Reason.SPIKE)


def _agrees(suspect: Suspect, value_mwh: int, at: datetime, capacity_w: float) -> bool:
    rise_mwh = value_mwh - suspect.level_mwh
    return 0 <= rise_mwh <= _possible_mwh(at - suspect.at, capacity_w)


def _suspect_again(
    counter: Counter, suspect: Suspect, value_mwh: int, at: datetime
) -> tuple[Counter, _Credit]:
    if suspect.readings + 1 == AGREEING_READINGS:
        return Counter(at, value_mwh, at), _spike(counter)
    again = Suspect(value_mwh, at, suspect.readings + 1)
    return replace(counter, suspect=again), _spike(counter)


def _power_credit(before: Account, reading: Reading, at: datetime) -> _Credit | None:
    if reading.power_w is None or before.power_w is None or at == before.last_at:
        return None
    elapsed = at - before.last_at
    if elapsed > POWER_GAP_AFTER:
        return _Credit(before.last_at, 0, Quality.MISSING, Reason.GAP)
    mean_w = (max(0.0, before.power_w) + max(0.0, reading.power_w)) / 2
    energy_mwh = round(mean_w * elapsed.total_seconds() * _MWH_PER_WS)
    return _Credit(before.last_at, energy_mwh, Quality.ESTIMATED, Reason.POWER_ONLY)
