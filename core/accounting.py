"""Interval accounting: readings in order of measurement time → energy per 15-minute slot.

Counters are authoritative; power alone is an estimate. `advance` folds readings into an
`AccountingState`, which holds all of the past that later readings need. The result of a fold does
not depend on where a history is cut. A late reading is accounted by folding again from a state
before it. Because a (device, time) counts once, the result is independent of arrival order.

Event at the meter → energy that is counted (quality, reason):

- The counter rises by a possible amount → the difference (measured). Possible is the energy of the
  capacity since the counter last rose, or since half an hour before the device's previous reading
  if that is later, plus one resolution step.
- It falls, to 90 % of its mark or more → 0 until it passes the mark again (measured, dip).
- It falls below that, but not to 0 → the new value if possible, else 0; the mark moves (measured,
  reset).
- It reads exactly 0 after a positive value → 0; the mark stays (measured, zero).
- It rises by more than is possible → 0 (rejected, spike). At the third consecutive reading that
  agrees with the new level, the mark moves there without credit. A possible reading ends the spike.
- It falls to 90 % of its mark or more, by more than 1 kWh and by more than the capacity generates
  in an hour, and then three readings rise over half an hour or more → the differences from the
  first of them on (measured, step). The mark moves. A jump back up credits only the energy above
  all that was credited.
- The meter reports a new time since which it counts → the new value, if possible, less the energy
  credited since that time (measured, reset).
- No reading for more than two slots → the difference, spread evenly (interpolated, gap).
- Power only, at most 5 minutes apart → trapezoid (estimated, power_only).
- Power only, further apart → 0 (missing, gap).

`core.counter_rules` decides the credits of one counter's next value, and `core.device_counters`
those of several counters of one device together.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec import Struct

from core import device_counters
from core.counter_rules import update
from core.counters import Counter, ReadingContext, is_unchanged
from core.device_counters import ENERGY, EXPORT, Joint, State
from core.intervals import GAP_AFTER, Credit, Interval, Quality, Reason
from core.readings import Reading
from core.units import slot_of

# Power further apart than this is no basis for an estimate.
POWER_GAP_AFTER = timedelta(minutes=5)
# A smaller part of the capacity is an inverter's own consumption at night, not generation.
_FULL_LOAD_PART_MIN = 0.01

_MWH_PER_WS = 1000 / 3600
_NO_REASONS: frozenset[Reason] = frozenset()


class AccountingState(Struct, frozen=True, omit_defaults=True, gc=False):
    """All of a device's past that the accounting of its later readings needs.

    Stored in the database as JSON (`db/accounting_states.py`): field names never change, and a new
    field has a default.
    """

    # Time of the last reading.
    last_at: datetime
    # By key: `energy_wh` or `export_wh`, with a part (`energy_wh:0`) where the device has several.
    counters: dict[str, Counter] = {}
    # Power of the last reading.
    power_w: float | None = None
    # State of several counters together; None for a device that reports no parts.
    joint: Joint | None = None

    @property
    def settled_until(self) -> datetime:
        """The time before which no later reading adds energy: slots that end by then are final."""
        return min([self.last_at, *(c.settled_until for c in self.counters.values())])

    def settled_for(self, keys: Collection[str]) -> datetime:
        """Return the same time, if later readings report no other counters than `keys`."""
        return min(
            [self.last_at, *(c.settled_until for key, c in self.counters.items() if key in keys)]
        )


@dataclass(slots=True)
class Accounted:
    """The result of a fold: the energy it adds per slot, and states to fold from again.

    `checkpoints[slot]` is the state before the first reading in that slot or later. A fold from it
    yields the whole energy of every slot from there on.
    """

    account: AccountingState
    intervals: dict[datetime, Interval]
    checkpoints: dict[datetime, AccountingState]


def advance(
    account: AccountingState | None, readings: Iterable[Reading], capacity_w: float
) -> Accounted | None:
    """Fold readings, sorted by time and all after `account.last_at`; None if there are none."""
    accounted: Accounted | None = None
    for reading in readings:
        assert reading.time is not None
        if accounted is None:
            accounted = Accounted(account or AccountingState(reading.time), {}, {})
        _fold(accounted, reading, reading.time, capacity_w)
    return accounted


def reported_counters(readings: Iterable[Reading]) -> set[str]:
    """Return the keys of the counters that readings report."""
    return {
        key
        for reading in readings
        for field in (ENERGY, EXPORT)
        for key in device_counters.reported(reading, field)
    }


def _fold(accounted: Accounted, reading: Reading, at: datetime, capacity_w: float) -> None:
    before, intervals, slot = accounted.account, accounted.intervals, slot_of(at)
    if slot > slot_of(before.last_at):
        accounted.checkpoints[slot] = before
    if before.joint is None and not reading.parts:
        account, generated, exported = _update_single(before, reading, at, capacity_w)
        exports = EXPORT in account.counters
    else:
        account, generated, exported = _update_several(before, reading, at, capacity_w)
        exports = device_counters.has_counter(account.counters, EXPORT)
    if not account.counters:
        generated = _power_credit(before, reading, at)
    for credit in generated:
        _add(intervals, credit, surplus=not exports)
    for credit in exported:
        _add(intervals, credit, generated=False)
    accounted.account = account


_FieldUpdates = tuple[AccountingState, Sequence[Credit], Sequence[Credit]]


def _update_single(
    before: AccountingState, reading: Reading, at: datetime, capacity_w: float
) -> _FieldUpdates:
    """Update a device with at most one counter for generation and one for export.

    A fast path for most devices, with the same result as `_update_several`.
    """
    energy, export = before.counters.get(ENERGY), before.counters.get(EXPORT)
    full_load_time, counts_since = None, reading.counts_since
    if is_unchanged(energy, reading.energy_wh):
        full_load_time = _full_load_time(before, reading, at, capacity_w)
    context = ReadingContext(at, before.last_at, capacity_w, full_load_time, counts_since)
    energy, generated = update(energy, reading.energy_wh, context)
    if counts_since is not None or full_load_time is not None:
        # Export may be 0 while power flows, so it stalls only if generation stalls too.
        stalled = energy is not None and energy.stalled_at is not None
        context = ReadingContext(
            at, before.last_at, capacity_w, full_load_time if stalled else None
        )
    export, exported = update(export, reading.export_wh, context)
    counters = {} if energy is None else {ENERGY: energy}
    if export is not None:
        counters[EXPORT] = export
    return AccountingState(at, counters, reading.power_w), generated, exported


def _update_several(
    before: AccountingState, reading: Reading, at: datetime, capacity_w: float
) -> _FieldUpdates:
    joint = before.joint or Joint()
    state = State(dict(before.counters), dict(joint.owed_mwh), dict(joint.filled_until))
    full_load_time = _full_load_time(before, reading, at, capacity_w)
    context = ReadingContext(at, before.last_at, capacity_w, full_load_time, reading.counts_since)
    energy_wh = device_counters.reported(reading, ENERGY)
    generated = device_counters.update_field(state, ENERGY, energy_wh, context)
    stalled = device_counters.all_stalled(state, ENERGY)
    context = ReadingContext(at, before.last_at, capacity_w, full_load_time if stalled else None)
    export_wh = device_counters.reported(reading, EXPORT)
    exported = device_counters.update_field(state, EXPORT, export_wh, context)
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


def _full_load_time(
    before: AccountingState, reading: Reading, at: datetime, capacity_w: float
) -> timedelta:
    """Return the time at full capacity that generates the energy shown by power since then."""
    if before.power_w is None or reading.power_w is None:
        return timedelta(0)
    part = min(1.0, _mean_w(before.power_w, reading.power_w) / capacity_w)
    if part < _FULL_LOAD_PART_MIN:
        return timedelta(0)
    return part * min(at - before.last_at, GAP_AFTER)


def _mean_w(first_w: float, last_w: float) -> float:
    """Return the mean generation between two readings; consumption (negative) counts as 0."""
    return (max(0.0, first_w) + max(0.0, last_w)) / 2
