"""Readings that are late: go back to before them, and fold again what came since, with them.

A credit may begin before the account that one goes back to (the counter was silent, or lied): the
slots it reaches into are taken back as well, and folded from an account before them. Where
retention has dropped readings that this takes, what was made of them stays, and gets the difference
that the late ones make.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

from core.accounting import Accounted, AccountingState
from core.earning import account_readings
from core.ids import DeviceId
from core.intervals import Interval
from core.readings import Reading
from core.units import slot_of
from db import intervals, readings
from db.device_states import DeviceState
from db.intervals import SurplusChange
from db.pool import Connection


async def account_again(
    conn: Connection, state: DeviceState, times: Collection[datetime]
) -> tuple[Accounted, list[SurplusChange]]:
    """Account stored readings of these times, with all that were read since and accounted before.

    Takes back the slots that it replaces. Returns what to add, and what was taken back.
    """
    device_id, late_at = state.device_id, min(times)
    from_slot, history = await _to_account(conn, state, late_at)
    # What came before the history; where retention dropped its beginning, a later account.
    account = await intervals.checkpoint_before(conn, device_id, _oldest_at(history))
    again = _fold(state, account, history)
    if account is not None and slot_of(account.last_at) >= from_slot:
        without = _fold(state, account, [r for r in history if r.time not in times])
        stored = await intervals.since(conn, device_id, from_slot)
        again = _amended(again, without, stored, slot_of(account.last_at))
    taken_back = await intervals.remove_from(conn, device_id, from_slot)
    await intervals.remove_checkpoints_after(conn, device_id, late_at)
    return _from_slot_on(again, from_slot), taken_back


async def _to_account(
    conn: Connection, state: DeviceState, late_at: datetime
) -> tuple[datetime, list[Reading]]:
    """From which slot on energy may change, and what was read since, as far as it is kept."""
    device_id = state.device_id
    before = await intervals.checkpoint_before(conn, device_id, late_at)
    before = state.terms.account_before(before, late_at)
    if before is None:
        history = await readings.since(conn, device_id, None)
        return slot_of(_oldest_at(history)), history
    from_slot = slot_of(await _settled_until(conn, device_id, before))
    base = await intervals.checkpoint_before(conn, device_id, from_slot)
    return from_slot, await readings.since(conn, device_id, base.last_at if base else None)


async def _settled_until(
    conn: Connection, device_id: DeviceId, before: AccountingState
) -> datetime:
    """Where the first credit after an account begins. A counter silent for long may stay silent."""
    if slot_of(before.settled_until) == slot_of(before.last_at):
        return before.settled_until
    return before.settled_for(await readings.since(conn, device_id, before.last_at))


def _amended(
    again: Accounted, without: Accounted, stored: Mapping[datetime, Interval], last_slot: datetime
) -> Accounted:
    """Slots up to the last that a fold can't give whole: what is stored, and by how much it differs
    from the fold without the late readings."""
    amended = dict(again.intervals)
    for slot, interval in stored.items():
        if slot <= last_slot:
            known = without.intervals.get(slot)
            rest = interval - known if known else interval
            amended[slot] = rest + amended[slot] if slot in amended else rest
    return replace(again, intervals=amended)


def _from_slot_on(accounted: Accounted, from_slot: datetime) -> Accounted:
    whole = {slot: i for slot, i in accounted.intervals.items() if slot >= from_slot}
    return replace(accounted, intervals=whole)


def _fold(state: DeviceState, account: AccountingState | None, history: list[Reading]) -> Accounted:
    accounted = account_readings(account, history, state.capacity_w, state.terms)
    assert accounted is not None
    return accounted


def _oldest_at(history: list[Reading]) -> datetime:
    assert history[0].time is not None
    return history[0].time
