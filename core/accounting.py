"""The energy accountant: readings in order of measurement time → energy per 15-minute slot.

Counters are the truth; power alone is an estimate. `advance` folds readings into an
`AccountingState`, which is all that must be kept of the past: the fold of a history does not depend
on where it is cut, so a late reading is accounted by going back to an account from before it and
folding again. That, and that a (device, time) counts
once, makes the result independent of arrival order.

What the meter does → what is counted (quality, reason):

- the counter rises by what is possible since it last rose, or since half an hour before the
  device's last reading, if that is later, and one count more → the difference (measured)
- it falls, but stays at 90 % of its mark → 0 until it passes the mark again (measured, dip)
- it falls below that, and is not 0 → the new value if possible, else 0; the mark moves
  (measured, reset)
- it reads exactly 0 after a positive value → 0; the mark stays (measured, zero)
- it rises by more than is possible → 0; at the third reading in a row that agrees with the new
  level the mark moves there without credit; one that is possible ends it (rejected, spike)
- it falls to 90 % of its mark or more, by more than 1 kWh and than the capacity makes in an hour;
  then three readings over half an hour or more rise → from the first of them on, the differences;
  the mark moves, and a jump back up credits only what exceeds what was earned (measured, step)
- the meter says itself since when it counts, and says so anew → the new value, if possible, less
  what was credited since then (measured, reset)
- nothing was read for more than two slots → the difference, evenly (interpolated, gap)
- power only, at most 5 minutes apart → trapezoid (estimated, power_only)
- power only, further apart → 0 (missing, gap)

What a counter's next value credits is decided in `core.counters`, and what several counters of one
device credit together in `core.device_counters`.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec import Struct

from core import device_counters
from core.counters import Counter, Moment, read, stands
from core.credits import GAP_AFTER, Credit
from core.device_counters import ENERGY, EXPORT, Joint, State
from core.intervals import Interval, Quality, Reason
from core.readings import Reading
from core.units import slot_of

POWER_GAP_AFTER = timedelta(minutes=5)
# Less is what an inverter draws at night, as far as counters go.
_WORKS_FROM_PART = 0.01

_MWH_PER_WS = 1000 / 3600
_NO_REASONS: frozenset[Reason] = frozenset()


class AccountingState(Struct, frozen=True, omit_defaults=True, gc=False):
    """A device's past, as far as its future needs it.

    `counters`: by key, `energy_wh` or `export_wh`, or with a part (`energy_wh:0`) where the device
    has several. `joint`: what is known of several together; None for a device that tells no parts.
    """

    last_at: datetime
    counters: dict[str, Counter] = {}
    power_w: float | None = None
    joint: Joint | None = None

    @property
    def settled_until(self) -> datetime:
        """No later reading adds energy before this: every slot that ends by then is final."""
        return min([self.last_at, *(c.settled_until for c in self.counters.values())])

    def settled_for(self, keys: Collection[str]) -> datetime:
        """The same if later readings tell no other counters than these."""
        return min(
            [self.last_at, *(c.settled_until for key, c in self.counters.items() if key in keys)]
        )


@dataclass(slots=True)
class Accounted:
    """What a fold gives: what it adds to each slot that it touches, and where one can go back to.

    `checkpoints[slot]` is the account from before the first reading in that slot or after. Folding
    from it again gives every slot from there on whole.
    """

    account: AccountingState
    intervals: dict[datetime, Interval]
    checkpoints: dict[datetime, AccountingState]


def advance(
    account: AccountingState | None, readings: Iterable[Reading], capacity_w: float
) -> Accounted | None:
    """Fold readings, sorted by time and all after `account.last_at`. None: there were none."""
    accounted: Accounted | None = None
    for reading in readings:
        assert reading.time is not None
        if accounted is None:
            accounted = Accounted(account or AccountingState(reading.time), {}, {})
        _fold(accounted, reading, reading.time, capacity_w)
    return accounted


def told_by(readings: Iterable[Reading]) -> set[str]:
    """The counters that readings tell, by key."""
    return {
        key
        for reading in readings
        for field in (ENERGY, EXPORT)
        for key in device_counters.told(reading, field)
    }


def _fold(accounted: Accounted, reading: Reading, at: datetime, capacity_w: float) -> None:
    before, intervals, slot = accounted.account, accounted.intervals, slot_of(at)
    if slot > slot_of(before.last_at):
        accounted.checkpoints[slot] = before
    if before.joint is None and not reading.parts:
        account, generated, exported = _read_two(before, reading, at, capacity_w)
        exports = EXPORT in account.counters
    else:
        account, generated, exported = _read_several(before, reading, at, capacity_w)
        exports = device_counters.counts(account.counters, EXPORT)
    if not account.counters:
        generated = _power_credit(before, reading, at)
    for credit in generated:
        _add(intervals, credit, surplus=not exports)
    for credit in exported:
        _add(intervals, credit, generated=False)
    accounted.account = account


_Read = tuple[AccountingState, Sequence[Credit], Sequence[Credit]]


def _read_two(before: AccountingState, reading: Reading, at: datetime, capacity_w: float) -> _Read:
    """A device with one counter for generation, and one for export: what they credit.

    The same as with several, for the many devices that are no more than that.
    """
    energy, export = before.counters.get(ENERGY), before.counters.get(EXPORT)
    worked, counts_since = None, reading.counts_since
    if stands(energy, reading.energy_wh):
        worked = _worked(before, reading, at, capacity_w)
    moment = Moment(at, before.last_at, capacity_w, worked, counts_since)
    energy, generated = read(energy, reading.energy_wh, moment)
    if counts_since is not None or worked is not None:
        # That nothing is exported is no wonder, unless nothing is counted at all.
        stalled = energy is not None and energy.stalled_at is not None
        moment = Moment(at, before.last_at, capacity_w, worked if stalled else None)
    export, exported = read(export, reading.export_wh, moment)
    counters = {} if energy is None else {ENERGY: energy}
    if export is not None:
        counters[EXPORT] = export
    return AccountingState(at, counters, reading.power_w), generated, exported


def _read_several(
    before: AccountingState, reading: Reading, at: datetime, capacity_w: float
) -> _Read:
    joint = before.joint or Joint()
    state = State(dict(before.counters), dict(joint.owed_mwh), dict(joint.filled_until))
    worked = _worked(before, reading, at, capacity_w)
    moment = Moment(at, before.last_at, capacity_w, worked, reading.counts_since)
    energy_wh = device_counters.told(reading, ENERGY)
    generated = device_counters.read_field(state, ENERGY, energy_wh, moment)
    stalled = device_counters.all_stalled(state, ENERGY)
    moment = Moment(at, before.last_at, capacity_w, worked if stalled else None)
    export_wh = device_counters.told(reading, EXPORT)
    exported = device_counters.read_field(state, EXPORT, export_wh, moment)
    return AccountingState(at, state.counters, reading.power_w, state.joint), generated, exported


def _add(
    intervals: dict[datetime, Interval],
    credit: Credit,
    *,
    generated: bool = True,
    surplus: bool = True,
) -> None:
    reasons = _NO_REASONS if credit.reason is None else frozenset([credit.reason])
    for slot, mwh in credit.by_slot():
        part = Interval(mwh if generated else 0, mwh if surplus else 0, credit.quality, reasons)
        known = intervals.get(slot)
        intervals[slot] = part if known is None else known + part


def _power_credit(before: AccountingState, reading: Reading, at: datetime) -> Sequence[Credit]:
    if reading.power_w is None or before.power_w is None or at == before.last_at:
        return ()
    elapsed = at - before.last_at
    if elapsed > POWER_GAP_AFTER:
        return (Credit(before.last_at, at, 0, Quality.MISSING, Reason.GAP),)
    mean_w = _mean_w(before.power_w, reading.power_w)
    energy_mwh = round(mean_w * elapsed.total_seconds() * _MWH_PER_WS)
    return (Credit(before.last_at, at, energy_mwh, Quality.ESTIMATED, Reason.POWER_ONLY),)


def _worked(
    before: AccountingState, reading: Reading, at: datetime, capacity_w: float
) -> timedelta:
    """How long the capacity takes for what power says was generated since the last reading."""
    if before.power_w is None or reading.power_w is None:
        return timedelta(0)
    part = min(1.0, _mean_w(before.power_w, reading.power_w) / capacity_w)
    if part < _WORKS_FROM_PART:
        return timedelta(0)
    return part * min(at - before.last_at, GAP_AFTER)


def _mean_w(first_w: float, last_w: float) -> float:
    """Between two readings; what is drawn is not generated."""
    return (max(0.0, first_w) + max(0.0, last_w)) / 2
