"""The timer that checks devices whose energy changed, and flags what looks wrong.

It runs beside the batches and is bounded: at most `DEVICES_MAX` devices per round, the changed
slots of each as far back as the late horizon, and `READINGS_MAX` readings. Several ingesters may
run it: each one claims devices that no other has claimed. If a process is killed, the devices that
it had claimed are checked again when their energy changes next.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta

import structlog

from core.accounting import AccountingState
from core.clock import REAL_TIME, Clock
from core.earning import account_readings
from core.flags import (
    WINDOW,
    Finding,
    ReadingCredit,
    SlotEnergy,
    find_in_slots,
    find_resets,
    slots_with_resets,
)
from core.ids import DeviceId
from core.intervals import Reason
from core.readings import Reading
from core.selling import SellingRules
from core.units import SLOT
from db import checkpoints, device_decisions, device_states, flags, readings
from db.device_states import DeviceState
from db.errors import database_errors
from db.flags import DueDevice
from db.pool import Connection, Pool
from ingest.accounting import measured_at

DEVICES_MAX = 50
READINGS_MAX = 5_000
RECHECK_AFTER = timedelta(minutes=1)
# A flag that an administrator has confirmed is not raised again within this time.
CONFIRMED_FOR = timedelta(days=30)

_MWH_PER_WH = 1000

_log = structlog.get_logger()


async def watch(
    pool: Pool,
    rules: SellingRules,
    late_horizon: timedelta,
    *,
    clock: Clock = REAL_TIME,
    every_s: float = 2.0,
) -> None:
    """Check devices until cancelled."""
    while True:
        try:
            while await check_devices(pool, rules, late_horizon, clock=clock) == DEVICES_MAX:
                pass
        except database_errors() as error:
            _log.warning("flags_not_checked", error=type(error).__name__)
        await asyncio.sleep(every_s)


async def check_devices(
    pool: Pool,
    rules: SellingRules,
    late_horizon: timedelta,
    *,
    recheck_after: timedelta = RECHECK_AFTER,
    clock: Clock = REAL_TIME,
) -> int:
    """Check some of the devices that are due, and return how many."""
    async with pool.acquire() as conn:
        due = await flags.claim(conn, recheck_after=recheck_after, limit=DEVICES_MAX)
        oldest = clock.now() - late_horizon
        since = {one.device_id: max(one.due_from, oldest) - WINDOW for one in due}
        slots_of = await flags.slots_since(conn, since)
        for one in due:
            slots = slots_of[one.device_id]
            findings = find_in_slots(slots, one.device, since=since[one.device_id])
            reset = slots_with_resets(slots)
            if reset:
                found = find_resets(slots, reset, await _credits(conn, one, reset))
                findings += [found] if found is not None else []
            if findings:
                await _raise(conn, one.device_id, findings, rules, clock)
            # Checking is computation: let batches go on between two devices.
            await asyncio.sleep(0)
    return len(due)


async def _credits(
    conn: Connection, due: DueDevice, slots: Sequence[SlotEnergy]
) -> list[ReadingCredit]:
    """Return the energy that single readings credited, in the slots with most energy first.

    Ends after `READINGS_MAX` readings.
    """
    state = await device_states.read(conn, due.device_id)
    credited: list[ReadingCredit] = []
    left = READINGS_MAX
    for slot in sorted(slots, key=lambda one: -one.energy_wh):
        if left <= 0 or state is None:
            break
        slot_readings = await readings.between(conn, due.device_id, slot.start, slot.start + SLOT)
        left -= len(slot_readings)
        if slot_readings:
            before = await checkpoints.before(conn, due.device_id, measured_at(slot_readings[0]))
            credited += _credited(state, before, slot_readings)
    return credited


def _credited(
    state: DeviceState, account: AccountingState | None, slot_readings: Sequence[Reading]
) -> Iterator[ReadingCredit]:
    """Yield the energy of each reading but the first.

    The state before the first reading may be older than the slot, so its energy is of other slots.
    """
    for number, reading in enumerate(slot_readings):
        accounted = account_readings(account, [reading], state.capacity_w, state.terms)
        assert accounted is not None
        account = accounted.account
        parts = accounted.intervals.values()
        if number:
            energy_mwh = sum(max(part.generated_mwh, part.surplus_mwh) for part in parts)
            is_reset = any(Reason.RESET in part.reasons for part in parts)
            yield ReadingCredit(measured_at(reading), energy_mwh / _MWH_PER_WH, is_reset)


async def _raise(
    conn: Connection,
    device_id: DeviceId,
    findings: Sequence[Finding],
    rules: SellingRules,
    clock: Clock,
) -> None:
    """Raise flags for a device. Lock order: the device's state, then its listings by id."""
    async with conn.transaction():
        if device_id not in await device_states.lock(conn, [device_id]):
            return  # The device was deleted meanwhile.
        settled = await flags.confirmed_kinds(conn, device_id, CONFIRMED_FOR)
        raised = [
            finding.kind
            for finding in findings
            if finding.kind not in settled and await flags.raise_flag(conn, device_id, finding)
        ]
        if raised and rules.flags_pause_selling:
            await device_decisions.apply_to_listings(conn, device_id, rules, clock.now())
    for kind in raised:
        _log.warning("device_flagged", device_id=str(device_id), kind=kind)
