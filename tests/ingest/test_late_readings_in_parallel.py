"""Re-accounting beside the batches: failures, ingesters in parallel, and ingesters that end."""

import asyncio
import os
import signal
import sys
from random import Random

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from core.enums import Queue
from core.selling import DEFAULT_RULES
from core.settings import DatabaseSettings
from db import failed_items, unaccounted
from db.pool import Pool
from ingest import late_readings
from ingest.late_readings import account_all
from ingest.metrics import IngestMetrics
from ingest.reaccounting import Limits
from tests.ingest.late_devices import (
    COUNT_WAITING,
    MINUTE,
    QueryLog,
    check,
    days,
    device_with,
    store,
    time_of,
)
from tests.support.audits import failed_checks
from tests.support.waiting import eventually


async def test_a_device_whose_energy_the_database_refuses_keeps_no_other_waiting(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = days(1)
    late = history.pop(99)
    devices = sorted([await device_with(pool, history) for _ in range(3)])
    for device in devices:
        await store(pool, device, [late])
    await pool.execute(
        f"ALTER TABLE energy_interval ADD CHECK (device_id <> '{devices[1]}') NOT VALID"
    )
    async with pool.acquire() as conn:
        assert await account_all(conn) == 2
    assert [r[0] for r in await pool.fetch("SELECT device_id FROM unaccounted_readings")] == [
        devices[1]
    ]
    for device in (devices[0], devices[2]):
        await check(pool, database, device, [*history, late])


_FAIL = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'failed' USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON energy_interval
    FOR EACH ROW WHEN (NEW.device_id = '{device}') EXECUTE FUNCTION fail();
"""


@pytest.mark.parametrize(
    ("code", "is_set_aside"), [("XX000", True), ("22003", True), ("57014", False)]
)
async def test_a_device_that_fails_for_any_reason_stops_no_other_and_is_accounted_later(
    pool: Pool, database: DatabaseSettings, code: str, is_set_aside: bool
) -> None:
    """An internal error, a number out of range, and a statement that took too long."""
    history = days(1)
    late = history.pop(99)
    devices = sorted([await device_with(pool, history) for _ in range(2)])
    for device in devices:
        await store(pool, device, [late])
    await pool.execute(_FAIL.format(code=code, device=devices[0]))
    async with pool.acquire() as conn:
        assert [await account_all(conn) for _ in range(3)] == [1, 0, 0]
        await check(pool, database, devices[1], [*history, late])
        [failed] = await pool.fetch("SELECT queue, item, tries FROM failed_items")
        assert tuple(failed) == ("late_readings", str(devices[0]), 1)
        for _ in range(failed_items.TRIES):
            await pool.execute("UPDATE failed_items SET retry_at = now() WHERE retry_at > now()")
            assert await account_all(conn) == 0
        set_aside = await failed_items.set_aside(conn, Queue.LATE_READINGS)
        assert set_aside == ({str(devices[0])} if is_set_aside else set())
        await pool.execute("DROP TRIGGER fail ON energy_interval")
        await pool.execute("DELETE FROM failed_items WHERE set_aside_at IS NOT NULL")
        await pool.execute("UPDATE failed_items SET retry_at = now()")
        assert await account_all(conn) == 1
    await check(pool, database, devices[0], [*history, late])
    assert await pool.fetchval("SELECT count(*) FROM failed_items") == 0


async def test_many_waiting_readings_are_settled_in_parts(
    pool: Pool, database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each statement has a time limit, which a week of seconds would exceed."""
    monkeypatch.setattr(unaccounted, "_AT_ONCE", 10)
    history = days(1)
    late = [history.pop(n) for n in range(200, 40, -3)]
    device = await device_with(pool, history)
    late += [replace(one, time=time_of(one) + MINUTE, export_wh=5.0) for one in late[:1]]
    await store(pool, device, late)
    async with pool.acquire() as conn:
        assert await unaccounted.reported_counters(conn, device) == {"energy_wh", "export_wh"}
        assert await account_all(conn) == 1
    assert await pool.fetchval(COUNT_WAITING) == 0
    await check(pool, database, device, [*history, *late])


@pytest.mark.parametrize("late_export_wh", [None, 1500.0])
async def test_a_counter_that_is_reported_during_reaccounting_is_not_lost(
    pool: Pool, database: DatabaseSettings, late_export_wh: float | None
) -> None:
    """The fold ends at an unchanged checkpoint, or continues to the last reading."""
    history = days(1, every=MINUTE / 6)[:3000]
    history[3] = replace(history[3], export_wh=1000.0)
    late = replace(history.pop(1000), export_wh=late_export_wh)
    device = await device_with(pool, history)
    await store(pool, device, [late])
    last = replace(history[-1], time=time_of(history[-1]) + MINUTE, export_wh=4000.0)
    async with pool.acquire() as conn:
        log = QueryLog(conn)
        task = asyncio.create_task(account_all(conn, Limits(first_page=1, page=2)))
        await eventually(lambda: log.pages)
        await store(pool, device, [last])
        await task
    await check(pool, database, device, [*history, late, last])


@pytest.mark.parametrize("seed", range(4))
async def test_readings_that_arrive_during_reaccounting_are_all_accounted(
    pool: Pool, database: DatabaseSettings, seed: int
) -> None:
    random, history = Random(seed), days(1)
    device = await device_with(pool, history[::20])
    rest = [one for n, one in enumerate(history) if n % 20]
    random.shuffle(rest)
    is_stored = asyncio.Event()

    async def ingester() -> None:
        async with pool.acquire() as conn:
            while not is_stored.is_set() or await pool.fetchval(COUNT_WAITING):
                limits = Limits(first_page=random.randint(1, 5), page=random.randint(1, 60))
                await account_all(conn, limits)

    async def devices() -> None:
        for n in range(0, len(rest), 10):
            in_batch = random.choice([0, 10, 100])
            await store(pool, device, rest[n : n + 10], Limits(in_batch, 5, 20))
        is_stored.set()

    await asyncio.gather(ingester(), ingester(), devices())
    await check(pool, database, device, history)


@pytest.mark.parametrize("seed", range(3))
async def test_an_ingester_that_is_stopped_anywhere_has_written_nothing_or_all(
    pool: Pool, database: DatabaseSettings, seed: int
) -> None:
    random, history = Random(seed), days(1)
    late = [history.pop(random.randrange(10, len(history) - 10)) for _ in range(3)]
    device = await device_with(pool, history)
    for one in late:
        await store(pool, device, [one])
    while await pool.fetchval(COUNT_WAITING):
        conn = await pool.acquire()
        task = asyncio.create_task(account_all(conn, Limits(first_page=10, page=50)))
        for _ in range(random.randint(1, 120)):
            await asyncio.sleep(0.0005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        conn.terminate()
        await pool.release(conn)
        async with pool.acquire() as other:
            assert await failed_checks(other, database) == []
    await check(pool, database, device, [*history, *late])


_ACCOUNT_ALL = """
import asyncio, sys
from core.settings import DatabaseSettings
from db.pool import open_connection
from ingest.late_readings import account_all
from ingest.reaccounting import Limits

async def main():
    settings = DatabaseSettings(database_url=sys.argv[1])
    async with open_connection(settings, application_name="test") as conn:
        print("ready", flush=True)
        await account_all(conn, Limits(first_page=10, page=30))

asyncio.run(main())
"""


async def test_after_an_ingester_is_killed_the_audit_passes_and_another_continues(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = days(3)
    late = [history.pop(n) for n in (500, 12)]
    device = await device_with(pool, history)
    await store(pool, device, late)
    for n in range(4):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _ACCOUNT_ALL,
            database.database_url,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        await asyncio.sleep(0.01 * n)
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        async with pool.acquire() as conn:
            assert await failed_checks(conn, database) == []

    async def account() -> bool:
        # The server may take a moment to notice that the connection is gone.
        async with pool.acquire() as conn:
            await account_all(conn)
        return await pool.fetchval(COUNT_WAITING) == 0

    await eventually(account)
    await check(pool, database, device, [*history, *late])


async def test_an_ingester_finds_and_counts_waiting_readings(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = days(1)
    late = history.pop(100)
    device = await device_with(pool, history)
    await store(pool, device, [late])
    registry = CollectorRegistry()
    metrics = IngestMetrics(registry)
    waiting, reaccounted = "solarhub_late_readings_waiting", "solarhub_devices_reaccounted_total"
    tasks = [asyncio.create_task(late_readings.measure(pool, metrics, every_s=0.05))]
    await eventually(lambda: registry.get_sample_value(waiting) == 1)
    tasks.append(asyncio.create_task(late_readings.watch(pool, database, DEFAULT_RULES, metrics)))
    await eventually(lambda: registry.get_sample_value(waiting) == 0)
    await eventually(lambda: registry.get_sample_value(reaccounted) == 1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await check(pool, database, device, [*history, late])


async def test_deleting_a_device_deletes_its_waiting_readings(pool: Pool) -> None:
    history = days(1)
    device = await device_with(pool, history[1:])
    await store(pool, device, history[:1])
    assert await pool.fetchval(COUNT_WAITING) == 1
    await pool.execute("DELETE FROM devices WHERE id = $1", device)
    assert await pool.fetchval(COUNT_WAITING) == 0
    async with pool.acquire() as conn:
        assert await account_all(conn) == 0
