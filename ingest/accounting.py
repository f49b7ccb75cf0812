"""Let the accountant update the intervals that new readings touch."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from core.accounting import AccountingState
from core.earning import account_readings
from core.ids import DeviceId
from core.intervals import Interval
from core.readings import Reading
from db import intervals
from db.device_states import DeviceState
from db.intervals import SlotKey, SurplusChange
from db.pool import Connection
from ingest.late_readings import account_again


@dataclass(slots=True)
class _Pending:
    """What is to be written for all devices of a batch at once."""

    intervals: dict[SlotKey, Interval] = field(default_factory=dict)
    checkpoints: dict[SlotKey, AccountingState] = field(default_factory=dict)


async def account(
    conn: Connection,
    states: Mapping[DeviceId, DeviceState],
    new_readings: Mapping[DeviceId, list[Reading]],
    taken_back: Mapping[DeviceId, Collection[datetime]],
) -> list[SurplusChange]:
    """Account readings that were just stored, and that there are none at the times taken back.

    Returns what it changes of the sellable surplus.
    """
    pending, changes = _Pending(), []
    for device_id, new in new_readings.items():
        state = states[device_id]
        new.sort(key=measured_at)
        gone = taken_back.get(device_id, ())
        if not gone and state.measured_before(measured_at(new[0])):
            accounted = account_readings(state.account, new, state.capacity_w, state.terms)
        else:
            times = {measured_at(reading) for reading in new}.union(gone)
            accounted, removed = await account_again(conn, state, times)
            changes += removed
        assert accounted is not None
        state.account = accounted.account
        if accounted.intervals:
            state.energy_changed(min(accounted.intervals))
        pending.intervals |= {(device_id, s): i for s, i in accounted.intervals.items()}
        pending.checkpoints |= {(device_id, s): a for s, a in accounted.checkpoints.items()}
    if pending.intervals:
        changes += await intervals.add(conn, pending.intervals)
    if pending.checkpoints:
        await intervals.save_checkpoints(conn, pending.checkpoints)
    return changes


def measured_at(reading: Reading) -> datetime:
    assert reading.time is not None
    return reading.time
