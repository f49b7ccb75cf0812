"""Flags: look at devices whose energy changed, a few at a time, and raise what looks wrong.

Beside ingestion, and bounded: `LIMIT` devices a round, of each the slots that changed, up to the
late horizon back, and `READINGS_MAX` readings. Several ingesters may: each takes devices that no
other has. One that is killed looks at those it had taken when they tell of energy again.
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

LIMIT = 50
READINGS_MAX = 5_000
RECHECK_AFTER = timedelta(minutes=1)
# What an administrator looked into is not raised again for so long.
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
    """Look around until cancelled."""
    while True:
        try:
            while await look(pool, rules, late_horizon, clock=clock) == LIMIT:
                pass
        except database_errors() as error:
            _log.warning("flags_not_looked_for", error=type(error).__name__)
        await asyncio.sleep(every_s)


async def look(
    pool: Pool,
    rules: SellingRules,
    late_horizon: timedelta,
    *,
    recheck_after: timedelta = RECHECK_AFTER,
    clock: Clock = REAL_TIME,
) -> int:
    """Look at some devices. Returns how many."""
    async with pool.acquire() as conn:
        due = await flags.claim(conn, recheck_after=recheck_after, limit=LIMIT)
        oldest = clock.now() - late_horizon
        since = {one.device_id: max(one.due_from, oldest) - WINDOW for one in due}
        slots_of = await flags.slots_since(conn, since)
        for one in due:
            slots = slots_of[one.device_id]
            findings = find_in_slots(slots, one.suspect)
            reset = slots_with_resets(slots)
            if reset:
                found = find_resets(slots, reset, await _credits(conn, one, reset))
                findings += [found] if found is not None else []
            if findings:
                await _raise(conn, one.device_id, findings, rules, clock)
            await asyncio.sleep(0)
    return len(due)


async def _credits(
    conn: Connection, due: DueDevice, slots: Sequence[SlotEnergy]
) -> list[ReadingCredit]:
    """What the readings of some slots credited: of those that hold most, as far as we look."""
    state = await device_states.look_at(conn, due.device_id)
    credited: list[ReadingCredit] = []
    left = READINGS_MAX
    for slot in sorted(slots, key=lambda one: -one.energy_wh):
        if left <= 0 or state is None:
            break
        told = await readings.between(conn, due.device_id, slot.start, slot.start + SLOT)
        left -= len(told)
        if told:
            before = await checkpoints.before(conn, due.device_id, measured_at(told[0]))
            credited += _credited(state, before, told)
    return credited


def _credited(
    state: DeviceState, account: AccountingState | None, told: Sequence[Reading]
) -> Iterator[ReadingCredit]:
    """Each reading by itself, but the first: the account before it may be older than the slot."""
    for number, reading in enumerate(told):
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
    """Locks: the device's state, its listings by id."""
    async with conn.transaction():
        if device_id not in await device_states.lock(conn, [device_id]):
            return  # removed meanwhile
        settled = await flags.settled(conn, device_id, CONFIRMED_FOR)
        raised = [
            finding.kind
            for finding in findings
            if finding.kind not in settled and await flags.raise_flag(conn, device_id, finding)
        ]
        if raised and rules.flags_pause_selling:
            await device_decisions.apply_to_listings(conn, device_id, rules, clock.now())
    for kind in raised:
        _log.warning("device_flagged", device_id=str(device_id), kind=kind)
