"""Thinning of checkpoints to one a day, from which re-accounting gives the same."""

from datetime import datetime, timedelta
from uuid import UUID

from core.accounting import advance
from core.settings import DatabaseSettings
from db import intervals
from db.pool import Pool
from ingest import retention
from ingest.writer import write
from tests.ingest.world import add_device, counting, detailed
from tests.support.audits import failed_checks
from tests.support.meters import CAPACITY_W, NOON

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
MIDNIGHT = NOON - timedelta(hours=12)
HORIZON = timedelta(days=31)
LONG_AFTER = NOON + 20 * DAY

_KEPT = """
SELECT slot_start FROM accounting_checkpoints WHERE device_id = $1 ORDER BY slot_start
"""


async def thin(pool: Pool, settled_at: datetime) -> None:
    await pool.execute("UPDATE checkpoint_thinning SET thinned_until = $1", MIDNIGHT - DAY)
    await retention.thin_checkpoints(pool, settled_at)


async def stored_checkpoints(pool: Pool, device: UUID) -> list[datetime]:
    return [row["slot_start"] for row in await pool.fetch(_KEPT, device)]


async def test_settled_days_keep_one_checkpoint_and_other_days_all(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = counting(NOON, range(100_000, 100_000 + 5 * 288), 5 * MINUTE)
    late = history.pop(4 * 288)
    devices = [await add_device(pool, CAPACITY_W) for _ in range(3)]
    for device in devices:
        await write(pool, [detailed(device, *history, received_at=LONG_AFTER)], HORIZON)
    before = await stored_checkpoints(pool, devices[0])
    await thin(pool, MIDNIGHT + 3 * DAY + timedelta(hours=7))
    firsts = [slot for slot in before if slot < MIDNIGHT + DAY][:1]
    firsts += [MIDNIGHT + DAY, MIDNIGHT + 2 * DAY]
    for device in devices:
        assert await stored_checkpoints(pool, device) == firsts + [
            s for s in before if s >= MIDNIGHT + 3 * DAY
        ]
    assert await pool.fetchval("SELECT thinned_until FROM checkpoint_thinning") == (
        MIDNIGHT + 3 * DAY
    )
    # A reading beyond the late horizon still finds a checkpoint.
    for latest in (late, counting(NOON + 30 * MINUTE + MINUTE, [100_006])[0]):
        history.append(latest)
        await write(pool, [detailed(devices[0], latest, received_at=LONG_AFTER)], HORIZON)
        in_order = advance(None, sorted(history, key=lambda r: r.time or NOON), CAPACITY_W)
        assert in_order is not None
        async with pool.acquire() as conn:
            assert await intervals.between(conn, devices[0]) == in_order.intervals
            assert await failed_checks(conn, database) == []


async def test_a_day_that_is_not_over_is_not_thinned(pool: Pool) -> None:
    device = await add_device(pool, CAPACITY_W)
    history = counting(NOON, range(100_000, 100_100), 5 * MINUTE)
    await write(pool, [detailed(device, *history, received_at=LONG_AFTER)], HORIZON)
    before = await stored_checkpoints(pool, device)
    await thin(pool, MIDNIGHT + DAY - MINUTE)
    assert await stored_checkpoints(pool, device) == before
