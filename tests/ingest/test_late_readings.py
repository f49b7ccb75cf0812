"""Late readings: which a batch accounts at once, which wait, and that waiting changes nothing."""

import pytest
from msgspec.structs import replace

from core.readings import Reading
from core.settings import DatabaseSettings
from core.units import SLOT
from db.pool import Pool
from ingest.late_readings import account_all
from ingest.reaccounting import LIMITS, Limits
from ingest.writer import write
from tests.ingest.late_devices import (
    COUNT_WAITING,
    HORIZON,
    MINUTE,
    RECEIVED_AT,
    QueryLog,
    check,
    days,
    device_with,
    store,
    time_of,
)
from tests.ingest.world import counting, detailed
from tests.support.audits import failed_checks
from tests.support.meters import NOON


async def test_a_late_reading_is_accounted_up_to_the_first_unchanged_checkpoint(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = days(7)
    late = history.pop(600)
    device = await device_with(pool, history)
    async with pool.acquire() as conn:
        log = QueryLog(conn)
    await store(pool, device, [late], LIMITS)
    assert log.pages == [LIMITS.first_page]
    await check(pool, database, device, [*history, late])


async def test_a_batch_folds_no_more_than_its_limit_and_the_rest_waits(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = days(7)
    device = await device_with(pool, history)
    # A counter that is reported once stays in every later state, so no checkpoint is unchanged.
    late = replace(history[2], time=time_of(history[2]) + MINUTE, export_wh=7.0)
    async with pool.acquire() as conn:
        log = QueryLog(conn)
    await store(pool, device, [late], Limits(in_batch=1000, first_page=100, page=400))
    assert log.pages == [100, 200, 400, 300]
    assert await pool.fetchval(COUNT_WAITING) == 1
    await check(pool, database, device, history)
    async with pool.acquire() as conn:
        assert await account_all(conn) == 1
    assert await pool.fetchval(COUNT_WAITING) == 0
    await check(pool, database, device, [*history, late])


@pytest.mark.parametrize("in_batch", [2000, 80])
async def test_late_readings_of_one_batch_that_lie_far_apart_are_all_accounted(
    pool: Pool, database: DatabaseSettings, in_batch: int
) -> None:
    """Slots between them do not change. Readings beyond the limit of the batch wait."""
    history = days(7)
    late = [history.pop(n) for n in (1800, 900, 100)]
    device = await device_with(pool, history)
    await store(pool, device, late, Limits(in_batch, first_page=50, page=100))
    waiting = await pool.fetchval(COUNT_WAITING)
    assert waiting == 0 if in_batch == 2000 else 0 < waiting < 3
    async with pool.acquire() as conn:
        assert await failed_checks(conn, database) == []
        while await pool.fetchval(COUNT_WAITING):
            assert await account_all(conn)
    await check(pool, database, device, [*history, *late])


async def test_a_batch_of_many_late_devices_accounts_some_and_lets_others_wait(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = days(1)
    late = history.pop(100)
    devices = [await device_with(pool, history) for _ in range(6)]
    messages = [detailed(device, late, received_at=RECEIVED_AT) for device in devices]
    await write(pool, messages, HORIZON, limits=Limits(in_batch=500, first_page=200, page=400))
    waiting = await pool.fetchval(COUNT_WAITING)
    assert 0 < waiting < 6
    async with pool.acquire() as conn:
        assert await account_all(conn) == waiting
    for device in devices:
        await check(pool, database, device, [*history, late])


async def test_waiting_readings_change_nothing_until_they_are_accounted_in_pages(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = days(3)
    late = [history.pop(n) for n in (700, 400, 399, 30, 0)]
    device = await device_with(pool, history)
    for one in late:
        await store(pool, device, [one])
        await check(pool, database, device, history)
    # Later readings continue the accounting without them.
    later = counting(time_of(history[-1]) + SLOT, [150_000, 150_300])
    await store(pool, device, later)
    await check(pool, database, device, [*history, *later])
    async with pool.acquire() as conn:
        log = QueryLog(conn)
        while await pool.fetchval(COUNT_WAITING):
            assert await account_all(conn, Limits(first_page=10, page=50)) == 1
        assert set(log.pages) <= {10, 50}
    await check(pool, database, device, [*history, *later, *late])


async def test_a_counter_that_is_reported_again_after_days_changes_all_slots_between(
    pool: Pool, database: DatabaseSettings
) -> None:
    """Export is reported on the first and the last day: its energy is spread over all slots."""
    history = days(3)
    history[3] = replace(history[3], export_wh=1000.0)
    history[-2] = replace(history[-2], export_wh=4000.0)
    late = [history.pop(400), history.pop(4)]
    device = await device_with(pool, history)
    await store(pool, device, late)
    async with pool.acquire() as conn:
        while await pool.fetchval(COUNT_WAITING):
            await account_all(conn, Limits(first_page=5, page=20))
    await check(pool, database, device, [*history, *late])


async def test_a_late_reading_decides_about_a_counter_that_was_silent_for_long(
    pool: Pool, database: DatabaseSettings
) -> None:
    """Export is silent for ten hours. Its later value is possible because the device was silent."""
    history = [replace(one, export_wh=None) for one in days(1)[:12]]
    history[0] = replace(history[0], export_wh=1000.5)
    history.append(Reading(NOON + 600 * MINUTE, energy_wh=100_100, export_wh=50_000.5))
    early, in_gap = history.pop(2), Reading(NOON + 595 * MINUTE, energy_wh=100_100)
    device = await device_with(pool, history)
    await store(pool, device, [early, in_gap])
    async with pool.acquire() as conn:
        assert await account_all(conn, Limits(first_page=1, page=1)) == 1
        # Up to the slot from which on the first one changes nothing.
        await check(pool, database, device, [*history, early])
        assert await account_all(conn, Limits(first_page=1, page=1)) == 1
    await check(pool, database, device, [*history, early, in_gap])
