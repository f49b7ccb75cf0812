"""Let the accountant update the intervals that new readings touch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from core.accountant import Account, Accounted, advance
from core.intervals import Interval
from core.readings import Reading
from core.units import slot_of
from db import intervals, readings
from db.device_states import DeviceState
from db.intervals import SlotKey, SurplusChange
from db.pool import Connection


@dataclass(slots=True)
class _Pending:
    """What is to be written for all devices of a batch at once."""

    intervals: dict[SlotKey, Interval] = field(default_factory=dict)
    checkpoints: dict[SlotKey, Account] = field(default_factory=dict)


async def account(
    conn: Connection,
    states: Mapping[UUID, DeviceState],
    new_readings: Mapping[UUID, list[Reading]],
) -> list[SurplusChange]:
    """Account readings that were just stored. Returns what it changes of the sellable surplus."""
    pending, changes = _Pending(), []
    for device_id, new in new_readings.items():
        state = states[device_id]
        new.sort(key=measured_at)
        oldest_at = measured_at(new[0])
        if state.measured_before(oldest_at):
            accounted = advance(state.account, new, state.capacity_w)
        else:
            accounted, taken_back = await _account_again(conn, state, oldest_at)
            changes += taken_back
        assert accounted is not None
        state.account = accounted.account
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


async def _account_again(
    conn: Connection, state: DeviceState, late_at: datetime
) -> tuple[Accounted | None, list[SurplusChange]]:
    """Go back to before a late reading, and fold again what came since, with it.

    A credit may begin before the account that one goes back to (the counter was silent, or lied):
    the slots it reaches into are taken back as well, and folded from an account before them.
    """
    device_id = state.device_id
    before = await intervals.checkpoint_before(conn, device_id, late_at)
    if before is not None:
        from_slot = slot_of(before.settled_until)
        before = await intervals.checkpoint_before(conn, device_id, from_slot)
    history = await readings.since(conn, device_id, before.last_at if before else None)
    if before is None:
        from_slot = slot_of(measured_at(history[0]))
    taken_back = await intervals.remove_from(conn, device_id, from_slot)
    await intervals.remove_checkpoints_after(conn, device_id, late_at)
    accounted = advance(before, history, state.capacity_w)
    assert accounted is not None
    whole = {slot: i for slot, i in accounted.intervals.items() if slot >= from_slot}
    return replace(accounted, intervals=whole), taken_back
