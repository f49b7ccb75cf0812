"""Let the accountant update the intervals that new readings touch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from core.accounting import AccountingState, reported_counters
from core.earning import account_readings
from core.ids import DeviceId
from core.intervals import Interval
from core.readings import Reading
from db import checkpoints, intervals, unaccounted
from db.device_states import DeviceState
from db.intervals import SlotKey, SurplusChange
from db.pool import Connection
from db.unaccounted import Change
from ingest.reaccounting import LIMITS, ChangesOfBatch, Limits, at_once


@dataclass(slots=True)
class _Pending:
    """What is to be written for all devices of a batch at once."""

    intervals: dict[SlotKey, Interval] = field(default_factory=dict)
    checkpoints: dict[SlotKey, AccountingState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Late:
    """What a batch changed of a device's past, and the readings that it brought for it."""

    changes: Sequence[Change]
    readings: Sequence[Reading]


TakenBack = Mapping[datetime, Reading]


async def account(
    conn: Connection,
    states: Mapping[DeviceId, DeviceState],
    new_readings: Mapping[DeviceId, list[Reading]],
    retimed: Mapping[DeviceId, TakenBack],
    limits: Limits = LIMITS,
) -> list[SurplusChange]:
    """Account readings that were just stored. `retimed`: those that were deleted, by their time.

    What is late, and changes too much, is noted and waits. Returns what changes of the surplus that
    may be sold.
    """
    late: dict[DeviceId, _Late] = {}
    for device_id, new in new_readings.items():
        new.sort(key=measured_at)
        state, gone = states[device_id], retimed.get(device_id, {})
        if gone or not state.measured_before(measured_at(new[0])):
            late[device_id] = _late(state, new, gone)
    changes = await _account_late(conn, states, late, limits) if late else []
    pending = _Pending()
    for device_id, new in new_readings.items():
        state = states[device_id]
        later = new[len(late[device_id].readings) :] if device_id in late else new
        accounted = account_readings(state.account, later, state.capacity_w, state.terms)
        if accounted is None:
            continue
        state.account = accounted.account
        if accounted.intervals:
            state.energy_changed(min(accounted.intervals))
        pending.intervals |= {(device_id, s): i for s, i in accounted.intervals.items()}
        pending.checkpoints |= {(device_id, s): a for s, a in accounted.checkpoints.items()}
    if pending.intervals:
        changes += await intervals.add(conn, pending.intervals)
    if pending.checkpoints:
        await checkpoints.save(conn, pending.checkpoints)
    return changes


def _late(state: DeviceState, new: Sequence[Reading], gone: TakenBack) -> _Late:
    late = [reading for reading in new if not state.measured_before(measured_at(reading))]
    changes = {at: Change(at) for at in map(measured_at, late)}
    changes |= {at: Change(at, reading) for at, reading in gone.items()}
    return _Late(list(changes.values()), late)


async def _account_late(
    conn: Connection,
    states: Mapping[DeviceId, DeviceState],
    late: Mapping[DeviceId, _Late],
    limits: Limits,
) -> list[SurplusChange]:
    """Account again at once, as far as that is little; note the rest, and all of a device of which
    something waits: changes are accounted in the order in which they were stored."""
    surplus_changes: list[SurplusChange] = []
    noted: list[tuple[DeviceId, Change]] = []
    left, waiting = limits.in_batch, await unaccounted.among(conn, late)
    for device_id, of_device in late.items():
        to_note = of_device.changes
        if device_id not in waiting:
            changes = ChangesOfBatch(to_note, reported_counters(of_device.readings))
            done = await at_once(conn, states[device_id], changes, most=left, limits=limits)
            left -= done.folded
            surplus_changes += done.surplus_changes
            to_note = done.waiting
        noted += [(device_id, change) for change in to_note]
    if noted:
        await unaccounted.add(conn, noted)
    return surplus_changes


def measured_at(reading: Reading) -> datetime:
    assert reading.time is not None
    return reading.time
