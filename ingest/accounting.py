"""Interval accounting of a batch: the energy of its new readings is added to the slots.

Readings after the device's last one continue its accounting state. Earlier ones, and stored
readings whose time changed, change the past: they are accounted again at once if that takes few
readings, and otherwise wait for `ingest.late_readings`.
"""

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
class _Accounted:
    """The intervals and checkpoints of all devices of a batch, written in one statement each."""

    intervals: dict[SlotKey, Interval] = field(default_factory=dict)
    checkpoints: dict[SlotKey, AccountingState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _LateReadings:
    """The readings of a batch that are late for a device, and their changes of its past."""

    changes: Sequence[Change]
    readings: Sequence[Reading]


async def account(
    conn: Connection,
    states: Mapping[DeviceId, DeviceState],
    new_readings: Mapping[DeviceId, list[Reading]],
    retimed: Mapping[DeviceId, Mapping[datetime, Reading]],
    limits: Limits = LIMITS,
) -> list[SurplusChange]:
    """Account readings that were just stored, and return the changes of sellable surplus.

    The states are locked, and updated here. `retimed`: stored readings that were deleted because
    their time changed, by their old time. They are among `new_readings` with the new one.
    """
    late: dict[DeviceId, _LateReadings] = {}
    for device_id, new in new_readings.items():
        new.sort(key=measured_at)
        state, deleted = states[device_id], retimed.get(device_id, {})
        if deleted or not state.measured_before(measured_at(new[0])):
            late[device_id] = _late_readings(state, new, deleted)
    # Before the others: they continue a state that late readings may change.
    changes = await _account_late(conn, states, late, limits) if late else []
    in_order = {
        device_id: new[len(late[device_id].readings) :] if device_id in late else new
        for device_id, new in new_readings.items()
    }
    accounted = _account_in_order(states, in_order)
    if accounted.intervals:
        changes += await intervals.add(conn, accounted.intervals)
    if accounted.checkpoints:
        await checkpoints.save(conn, accounted.checkpoints)
    return changes


def _account_in_order(
    states: Mapping[DeviceId, DeviceState], new_readings: Mapping[DeviceId, Sequence[Reading]]
) -> _Accounted:
    """Continue the accounting states of devices by readings after their last ones."""
    result = _Accounted()
    for device_id, new in new_readings.items():
        state = states[device_id]
        accounted = account_readings(state.account, new, state.capacity_w, state.terms)
        if accounted is None:
            continue
        state.account = accounted.account
        if accounted.intervals:
            state.energy_changed(min(accounted.intervals))
        result.intervals |= {(device_id, s): i for s, i in accounted.intervals.items()}
        result.checkpoints |= {(device_id, s): a for s, a in accounted.checkpoints.items()}
    return result


def _late_readings(
    state: DeviceState, new: Sequence[Reading], deleted: Mapping[datetime, Reading]
) -> _LateReadings:
    late = [reading for reading in new if not state.measured_before(measured_at(reading))]
    changes = {at: Change(at) for at in map(measured_at, late)}
    changes |= {at: Change(at, reading) for at, reading in deleted.items()}
    return _LateReadings(list(changes.values()), late)


async def _account_late(
    conn: Connection,
    states: Mapping[DeviceId, DeviceState],
    late: Mapping[DeviceId, _LateReadings],
    limits: Limits,
) -> list[SurplusChange]:
    """Account changes of the past at once within the limits, and store the others to wait.

    If changes of a device wait already, all of its changes wait: they are accounted in the order in
    which they were stored.
    """
    surplus_changes: list[SurplusChange] = []
    to_wait: list[tuple[DeviceId, Change]] = []
    left, waiting = limits.in_batch, await unaccounted.among(conn, late)
    for device_id, of_device in late.items():
        remaining = of_device.changes
        if device_id not in waiting:
            changes = ChangesOfBatch(remaining, reported_counters(of_device.readings))
            done = await at_once(conn, states[device_id], changes, most=left, limits=limits)
            left -= done.folded
            surplus_changes += done.surplus_changes
            remaining = done.waiting
        to_wait += [(device_id, change) for change in remaining]
    if to_wait:
        await unaccounted.add(conn, to_wait)
    return surplus_changes


def measured_at(reading: Reading) -> datetime:
    assert reading.time is not None
    return reading.time
