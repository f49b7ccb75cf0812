"""Late readings after retention has deleted the readings that energy was accounted from.

On plain PostgreSQL, which keeps all, the readings are deleted as TimescaleDB drops them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from core.accounting import advance
from core.intervals import Interval
from core.readings import Reading
from core.settings import DatabaseSettings
from db import intervals
from db.pool import Pool
from ingest import retention
from ingest.accounting import measured_at
from ingest.writer import write
from tests.ingest.world import add_device, add_following_listing, counting, detailed
from tests.support.audits import failed_checks
from tests.support.meters import CAPACITY_W, NOON, histories

DAY = timedelta(days=1)
HORIZON = timedelta(days=31)
MIDNIGHT = NOON - timedelta(hours=12)

_HAS_TIMESCALEDB = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"
_DROP = "SELECT drop_chunks('telemetry', older_than => $1::timestamptz)"
_DELETE = "DELETE FROM telemetry WHERE time < date_trunc('day', $1::timestamptz, 'UTC')"
_AGE = "UPDATE devices SET created_at = '2020-01-01Z'"


async def forget(pool: Pool, before: datetime, *, thinned: bool = False) -> None:
    """Delete readings as retention does: whole days, of all devices.

    `thinned`: what can be thinned out of the checkpoints long before was.
    """
    statement = _DROP if await pool.fetchval(_HAS_TIMESCALEDB) else _DELETE
    await pool.execute(statement, before)
    if thinned:
        await pool.execute("UPDATE checkpoint_thinning SET thinned_until = $1", MIDNIGHT - DAY)
        await retention.thin_checkpoints(pool, before + DAY)


async def store(pool: Pool, device: UUID, readings: Sequence[Reading]) -> None:
    received_at = max(map(measured_at, readings))
    await write(pool, [detailed(device, *readings, received_at=received_at)], HORIZON)


async def old_device(pool: Pool) -> UUID:
    """A device whose first readings may have been deleted."""
    device = await add_device(pool, CAPACITY_W)
    await pool.execute(_AGE)
    await add_following_listing(pool, device, NOON - DAY)
    return device


async def outcome(pool: Pool, database: DatabaseSettings, device: UUID) -> dict[datetime, Interval]:
    """Check that the audit passes, and return the intervals of a device."""
    async with pool.acquire() as conn:
        assert await failed_checks(conn, database) == []
        return await intervals.between(conn, device)


def energy(accounted: dict[datetime, Interval]) -> dict[datetime, tuple[int, int]]:
    return {slot: (i.generated_mwh, i.surplus_mwh) for slot, i in accounted.items()}


def undisturbed(readings: Sequence[Reading]) -> dict[datetime, Interval]:
    """Return the intervals of these readings in order, with nothing deleted."""
    accounted = advance(None, readings, CAPACITY_W)
    assert accounted is not None
    return accounted.intervals


@settings(max_examples=15)
@given(histories(), histories(), st.data())
async def test_late_readings_do_not_change_slots_whose_readings_were_deleted(
    pool: Pool, database: DatabaseSettings, early: list[Reading], later: list[Reading],
    data: st.DataObject,
) -> None:  # fmt: skip
    silence = measured_at(early[-1]) + data.draw(st.integers(1, 3)) * DAY - NOON
    later = [replace(r, time=measured_at(r) + silence) for r in later]
    device = await old_device(pool)
    await store(pool, device, early)
    days = data.draw(st.integers(1, silence.days))
    await forget(pool, NOON + days * DAY, thinned=data.draw(st.booleans()))
    sent = data.draw(st.permutations(later))
    for n in range(0, len(sent), 5):
        await store(pool, device, sent[n : n + 5])
    came_out, expected = await outcome(pool, database, device), undisturbed([*early, *later])
    assert energy(came_out) == energy(expected)
    # The energy of a slot whose readings were deleted cannot be computed again.
    assert all(i.reasons <= came_out[slot].reasons for slot, i in expected.items())


async def test_a_silent_counter_does_not_remove_energy_of_deleted_readings(
    pool: Pool, database: DatabaseSettings
) -> None:
    device, history = await old_device(pool), []
    for day in range(50):
        # A counter per day: the values of deleted days cannot be read again.
        history += counting(NOON + day * 2 * DAY, [0, 20, 40])
    history[4] = replace(history[4], export_wh=7.0)
    for n in range(0, len(history), 3):
        await store(pool, device, history[n : n + 3])
    await forget(pool, NOON + 60 * DAY, thinned=True)
    late = replace(history[-1], time=NOON + 97 * DAY, energy_wh=25.0)
    await store(pool, device, [late])
    history.insert(-3, late)
    assert await outcome(pool, database, device) == undisturbed(history)
