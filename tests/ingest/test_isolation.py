"""Work for many items at once: an item that fails alone stops no other, and is set aside."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import asyncpg
import pytest

from core.enums import Queue
from core.settings import DatabaseSettings
from db import failed_items
from db.failed_items import TRIES
from db.pool import Pool, open_pool
from ingest import late_readings, pricing
from ingest.isolation import isolating_failures
from ingest.listing_sync import expire_listings
from ingest.presence import take_silent_devices_offline
from tests.ingest.late_devices import check, days, device_with, store
from tests.ingest.world import add_device
from tests.support import market
from tests.support.market import RULES, add_dynamic_listing, slot_after
from tests.support.people import add_listing, add_user

SILENT, FAR = timedelta(minutes=5), datetime(2100, 1, 1, tzinfo=UTC)
_SILENCE = "UPDATE device_states SET status = 'online', last_seen_at = now() - interval '1 hour'"
_PAST = "UPDATE energy_listings SET available_from = $1, available_to = now() - interval '1 minute'"
_DUE_AT_ONCE = "UPDATE failed_items SET retry_at = clock_timestamp() WHERE retry_at IS NOT NULL"

Turn = Callable[[Pool], Awaitable[object]]


async def break_row(pool: Pool, table: str, column: str, id_: UUID) -> None:
    """Make every change of a row fail with an internal error."""
    await pool.execute(
        f"""
        CREATE FUNCTION stumble() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'stumbled' USING ERRCODE = 'XX000'; END $$;
        CREATE TRIGGER stumble BEFORE UPDATE ON {table}
            FOR EACH ROW WHEN (NEW.{column} = '{id_}') EXECUTE FUNCTION stumble();
        """
    )


async def tries_of(pool: Pool) -> list[tuple[str, str, int, bool]]:
    rows = await pool.fetch("SELECT * FROM failed_items ORDER BY failed_at")
    return [(r["queue"], r["item"], r["tries"], r["set_aside_at"] is not None) for r in rows]


async def is_tried_and_set_aside(pool: Pool, queue: Queue, failing: UUID, work_once: Turn) -> None:
    """Check that an item is retried later some times, then set aside, and retried once released."""
    for tries in range(1, TRIES + 1):
        assert await tries_of(pool) == [(queue, str(failing), tries, tries == TRIES)]
        await work_once(pool)  # not due yet
        assert await tries_of(pool) == [(queue, str(failing), tries, tries == TRIES)]
        await pool.execute(_DUE_AT_ONCE)
        await work_once(pool)
    assert await tries_of(pool) == [(queue, str(failing), TRIES, True)]
    async with pool.acquire() as conn:
        [item] = await failed_items.newest(conn, before=(FAR, UUID(int=0)), limit=10)
        assert (item.queue, item.item) == (queue, str(failing))
        assert "stumbled" in item.error
        assert await failed_items.release(conn, item.id)
    await pool.execute("DROP FUNCTION stumble CASCADE")
    await work_once(pool)
    assert await tries_of(pool) == []


async def test_a_device_that_cannot_be_taken_offline_keeps_no_other_online(pool: Pool) -> None:
    devices = [await add_device(pool) for _ in range(7)]
    failing = sorted(devices)[0]
    await pool.execute(_SILENCE)
    await break_row(pool, "device_states", "device_id", failing)
    work_once = partial(take_silent_devices_offline, offline_after=SILENT)
    assert await work_once(pool) == 6
    online = "SELECT device_id FROM device_states WHERE status = 'online'"
    assert [row[0] for row in await pool.fetch(online)] == [failing]
    await is_tried_and_set_aside(pool, Queue.PRESENCE, failing, work_once)
    assert await pool.fetch(online) == []


async def test_a_listing_that_cannot_expire_keeps_no_other_open(pool: Pool) -> None:
    host, start = await add_user(pool, "host"), datetime.now(UTC) - timedelta(days=1)
    failing = min([await add_listing(pool, host) for _ in range(7)])
    await pool.execute(_PAST, start)
    await break_row(pool, "energy_listings", "id", failing)
    assert await expire_listings(pool) == 6
    still_open = "SELECT id FROM energy_listings WHERE status <> 'expired'"
    assert [row[0] for row in await pool.fetch(still_open)] == [failing]
    await is_tried_and_set_aside(pool, Queue.EXPIRY, failing, expire_listings)
    assert await pool.fetch(still_open) == []


async def test_a_listing_that_cannot_be_repriced_stops_no_other(pool: Pool) -> None:
    await market.not_at_the_end_of_a_slot()
    host = await add_user(pool, "host")
    failing = min([await add_dynamic_listing(pool, host) for _ in range(7)])
    await break_row(pool, "energy_listings", "id", failing)
    slot_start = await slot_after(pool)
    work_once = partial(_price, slot_start)
    assert await work_once(pool) == 6
    old = "SELECT id FROM energy_listings WHERE price_slot < $1"
    assert [row[0] for row in await pool.fetch(old, slot_start)] == [failing]
    await is_tried_and_set_aside(pool, Queue.PRICES, failing, work_once)
    assert await pool.fetch(old, slot_start) == []


async def test_a_device_whose_late_readings_fail_is_set_aside(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = days(1)
    late = history.pop(99)
    devices = [await device_with(pool, history) for _ in range(3)]
    for device in devices:
        await store(pool, device, [late])
    failing = sorted(devices)[0]
    await break_row(pool, "device_states", "device_id", failing)
    assert await _account_late_readings(pool) == 2
    waiting = "SELECT device_id FROM unaccounted_readings"
    assert [row[0] for row in await pool.fetch(waiting)] == [failing]
    await is_tried_and_set_aside(pool, Queue.LATE_READINGS, failing, _account_late_readings)
    assert await pool.fetch(waiting) == []
    for device in devices:
        await check(pool, database, device, [*history, late])


async def _account_late_readings(pool: Pool) -> int:
    async with pool.acquire() as conn:
        return await late_readings.account_all(conn)


async def _price(slot_start: datetime, pool: Pool) -> int:
    return await pricing.price_slot(pool, RULES, slot_start)


async def test_an_item_that_another_transaction_locks_is_never_set_aside(
    pool: Pool, database: DatabaseSettings
) -> None:
    await market.not_at_the_end_of_a_slot()
    host = await add_user(pool, "host")
    listings = [await add_dynamic_listing(pool, host) for _ in range(4)]
    slot_start = await slot_after(pool)
    impatient = database.model_copy(
        update={"database_statement_timeout": timedelta(milliseconds=500)}
    )
    async with (
        open_pool(impatient, application_name="test") as own,
        pool.acquire() as conn,
        conn.transaction(),
    ):
        await conn.execute("SELECT FROM energy_listings WHERE id = $1 FOR UPDATE", listings[0])
        for tries in range(1, TRIES + 2):
            await _price(slot_start, own)
            assert await tries_of(pool) == [(Queue.PRICES, str(listings[0]), tries, False)]
            await pool.execute(_DUE_AT_ONCE)
    assert await _price(slot_start, pool) == 1
    assert await tries_of(pool) == []


async def test_an_error_of_the_whole_database_sets_nothing_aside(pool: Pool) -> None:
    async def work(_: object) -> int:
        raise asyncpg.UndefinedTableError("nothing is there")

    with pytest.raises(asyncpg.UndefinedTableError):
        await isolating_failures(pool, Queue.EXPIRY, [UUID(int=1), UUID(int=2)], work)
    assert await tries_of(pool) == []


async def test_one_failing_item_of_a_thousand_is_found_in_a_few_tries(pool: Pool) -> None:
    ids, calls = [UUID(int=n) for n in range(1024)], 0

    async def work(some: object) -> int:
        nonlocal calls
        calls += 1
        assert isinstance(some, list)
        if ids[777] in some:
            raise asyncpg.DataError("bad")
        return len(some)

    assert await isolating_failures(pool, Queue.EXPIRY, ids, work) == 1023
    assert calls <= 21


async def test_concurrent_failures_of_an_item_all_count(pool: Pool) -> None:
    noted = await asyncio.gather(
        *(failed_items.note(pool, Queue.PRICES, "x", f"error {n}\0") for n in range(TRIES))
    )
    assert sorted(noted) == [False] * (TRIES - 1) + [True]
    assert not await failed_items.note(pool, Queue.PRICES, "x", "again")
