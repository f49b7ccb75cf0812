"""Late readings: what a batch accounts at once, what waits, and that waiting changes nothing."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

import pytest
from asyncpg.connection import LoggedQuery
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from core.accounting import advance
from core.enums import Queue
from core.readings import Reading
from core.selling import DEFAULT_RULES
from core.settings import DatabaseSettings
from core.units import SLOT
from db import failed_items, intervals, unaccounted
from db.pool import Connection, Pool
from ingest import late_readings
from ingest.late_readings import account_all
from ingest.metrics import IngestMetrics
from ingest.reaccounting import LIMITS, Limits
from ingest.writer import write
from tests.ingest.world import add_device, add_following_listing, counting, detailed
from tests.support.audits import failed_checks
from tests.support.meters import CAPACITY_W, NOON
from tests.support.waiting import eventually

HORIZON = timedelta(days=31)
RECEIVED_AT = NOON + timedelta(days=20)
MINUTE = timedelta(minutes=1)
# Nothing is accounted in a batch, and a page is a few readings.
WAITING = Limits(in_batch=0, first_page=3, page=7)
_WAIT = "SELECT count(*) FROM unaccounted_readings"


async def tell(
    pool: Pool, device: UUID, readings: Sequence[Reading], limits: Limits = WAITING
) -> None:
    for n in range(0, len(readings), 500):
        message = detailed(device, *readings[n : n + 500], received_at=RECEIVED_AT)
        await write(pool, [message], HORIZON, limits=limits)


async def check(
    pool: Pool, database: DatabaseSettings, device: UUID, history: Sequence[Reading]
) -> None:
    """The device's intervals are what these readings give, and the books hold."""
    in_order = advance(None, sorted(history, key=_time), CAPACITY_W)
    assert in_order is not None
    async with pool.acquire() as conn:
        assert await intervals.between(conn, device) == in_order.intervals
        assert await failed_checks(conn, database) == []


def _time(reading: Reading) -> datetime:
    assert reading.time is not None
    return reading.time


def days(count: int, every: timedelta = 5 * MINUTE) -> list[Reading]:
    """A counter that is read every few minutes, and rises now and then."""
    values = (100_000 + 20 * (n // 3) for n in range(int(count * timedelta(days=1) / every)))
    return counting(NOON, values, every)


async def device_with(pool: Pool, readings: Sequence[Reading]) -> UUID:
    device = await add_device(pool, CAPACITY_W)
    await add_following_listing(pool, device, NOON - timedelta(hours=1))
    await tell(pool, device, readings)
    return device


class Asked:
    """What a connection is asked for."""

    def __init__(self, conn: Connection) -> None:
        self.queries: list[LoggedQuery] = []
        conn.add_query_logger(self.queries.append)

    @property
    def pages(self) -> list[int]:
        """How many readings each page may hold that was loaded."""
        return [
            q.args[3] for q in self.queries if "FROM telemetry" in q.query and "LIMIT $4" in q.query
        ]


async def test_a_late_reading_is_accounted_to_the_first_checkpoint_that_comes_out_as_it_was(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = days(7)
    late = history.pop(600)
    device = await device_with(pool, history)
    async with pool.acquire() as conn:
        asked = Asked(conn)
    await tell(pool, device, [late], LIMITS)
    assert asked.pages == [LIMITS.first_page]
    await check(pool, database, device, [*history, late])


async def test_a_batch_folds_no_more_than_its_limit_and_the_rest_waits(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = days(7)
    device = await device_with(pool, history)
    # Export that is told once is known of ever after: nothing comes out as it was.
    late = replace(history[2], time=_time(history[2]) + MINUTE, export_wh=7.0)
    async with pool.acquire() as conn:
        asked = Asked(conn)
    await tell(pool, device, [late], Limits(in_batch=1000, first_page=100, page=400))
    assert asked.pages == [100, 200, 400, 300]
    assert await pool.fetchval(_WAIT) == 1
    await check(pool, database, device, history)
    async with pool.acquire() as conn:
        assert await account_all(conn) == 1
    assert await pool.fetchval(_WAIT) == 0
    await check(pool, database, device, [*history, late])


@pytest.mark.parametrize("in_batch", [2000, 80])
async def test_late_readings_of_one_batch_that_lie_far_apart_are_all_accounted(
    pool: Pool, database: DatabaseSettings, in_batch: int
) -> None:
    """Between them nothing is different. Where the batch has enough of it, the rest waits."""
    history = days(7)
    late = [history.pop(n) for n in (1800, 900, 100)]
    device = await device_with(pool, history)
    await tell(pool, device, late, Limits(in_batch, first_page=50, page=100))
    waiting = await pool.fetchval(_WAIT)
    assert waiting == 0 if in_batch == 2000 else 0 < waiting < 3
    async with pool.acquire() as conn:
        assert await failed_checks(conn, database) == []
        while await pool.fetchval(_WAIT):
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
    waiting = await pool.fetchval(_WAIT)
    assert 0 < waiting < 6
    async with pool.acquire() as conn:
        assert await account_all(conn) == waiting
    for device in devices:
        await check(pool, database, device, [*history, late])


async def test_what_waits_is_accounted_in_pages_and_changes_nothing_before(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = days(3)
    late = [history.pop(n) for n in (700, 400, 399, 30, 0)]
    device = await device_with(pool, history)
    for one in late:
        await tell(pool, device, [one])
        await check(pool, database, device, history)
    # It goes on as if they had not come.
    later = counting(_time(history[-1]) + SLOT, [150_000, 150_300])
    await tell(pool, device, later)
    await check(pool, database, device, [*history, *later])
    async with pool.acquire() as conn:
        asked = Asked(conn)
        while await pool.fetchval(_WAIT):
            assert await account_all(conn, Limits(first_page=10, page=50)) == 1
        assert set(asked.pages) <= {10, 50}
    await check(pool, database, device, [*history, *later, *late])


async def test_a_counter_that_is_told_again_after_days_reaches_back_over_what_was_settled(
    pool: Pool, database: DatabaseSettings
) -> None:
    """Export is told on the first day and on the last: its gap is spread over all slots between."""
    history = days(3)
    history[3] = replace(history[3], export_wh=1000.0)
    history[-2] = replace(history[-2], export_wh=4000.0)
    late = [history.pop(400), history.pop(4)]
    device = await device_with(pool, history)
    await tell(pool, device, late)
    async with pool.acquire() as conn:
        while await pool.fetchval(_WAIT):
            await account_all(conn, Limits(first_page=5, page=20))
    await check(pool, database, device, [*history, *late])


async def test_a_late_reading_decides_of_a_counter_that_was_silent_since_long_before(
    pool: Pool, database: DatabaseSettings
) -> None:
    """Export is silent for ten hours. What it shows then was possible in the gap of the device."""
    history = [replace(one, export_wh=None) for one in days(1)[:12]]
    history[0] = replace(history[0], export_wh=1000.5)
    history.append(Reading(NOON + 600 * MINUTE, energy_wh=100_100, export_wh=50_000.5))
    early, in_gap = history.pop(2), Reading(NOON + 595 * MINUTE, energy_wh=100_100)
    device = await device_with(pool, history)
    await tell(pool, device, [early, in_gap])
    async with pool.acquire() as conn:
        assert await account_all(conn, Limits(first_page=1, page=1)) == 1
        # Up to where the first of them makes no difference any more.
        await check(pool, database, device, [*history, early])
        assert await account_all(conn, Limits(first_page=1, page=1)) == 1
    await check(pool, database, device, [*history, early, in_gap])


async def test_a_device_whose_energy_the_database_refuses_keeps_no_other_waiting(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = days(1)
    late = history.pop(99)
    devices = sorted([await device_with(pool, history) for _ in range(3)])
    for device in devices:
        await tell(pool, device, [late])
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


_STUMBLE = """
CREATE FUNCTION stumble() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'stumbled' USING ERRCODE = '{code}'; END $$;
CREATE TRIGGER stumble BEFORE INSERT OR UPDATE ON energy_interval
    FOR EACH ROW WHEN (NEW.device_id = '{device}') EXECUTE FUNCTION stumble();
"""


@pytest.mark.parametrize(
    ("code", "is_set_aside"), [("XX000", True), ("22003", True), ("57014", False)]
)
async def test_a_device_that_fails_for_any_reason_stands_aside_and_is_accounted_once_it_can_be(
    pool: Pool, database: DatabaseSettings, code: str, is_set_aside: bool
) -> None:
    """An internal error, a number out of range, and a statement that took too long."""
    history = days(1)
    late = history.pop(99)
    devices = sorted([await device_with(pool, history) for _ in range(2)])
    for device in devices:
        await tell(pool, device, [late])
    await pool.execute(_STUMBLE.format(code=code, device=devices[0]))
    async with pool.acquire() as conn:
        assert [await account_all(conn) for _ in range(3)] == [1, 0, 0]
        await check(pool, database, devices[1], [*history, late])
        [failed] = await pool.fetch("SELECT queue, item, tries FROM failed_items")
        assert tuple(failed) == ("late_readings", str(devices[0]), 1)
        for _ in range(failed_items.TRIES):
            await pool.execute("UPDATE failed_items SET retry_at = now() WHERE retry_at > now()")
            assert await account_all(conn) == 0
        aside = await failed_items.set_aside(conn, Queue.LATE_READINGS)
        assert aside == ({str(devices[0])} if is_set_aside else set())
        await pool.execute("DROP TRIGGER stumble ON energy_interval")
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
    late += [replace(one, time=one.time + MINUTE, export_wh=5.0) for one in late[:1]]
    await tell(pool, device, late)
    async with pool.acquire() as conn:
        assert await unaccounted.reported_counters(conn, device) == {"energy_wh", "export_wh"}
        assert await account_all(conn) == 1
    assert await pool.fetchval(_WAIT) == 0
    await check(pool, database, device, [*history, *late])


@pytest.mark.parametrize("late_export_wh", [None, 1500.0])
async def test_a_counter_that_is_told_while_its_device_is_accounted_again_is_not_forgotten(
    pool: Pool, database: DatabaseSettings, late_export_wh: float | None
) -> None:
    """Whether the fold ends at a checkpoint that comes out as it was, or goes on to the last."""
    history = days(1, every=MINUTE / 6)[:3000]
    history[3] = replace(history[3], export_wh=1000.0)
    late = replace(history.pop(1000), export_wh=late_export_wh)
    device = await device_with(pool, history)
    await tell(pool, device, [late])
    last = replace(history[-1], time=_time(history[-1]) + MINUTE, export_wh=4000.0)
    async with pool.acquire() as conn:
        asked = Asked(conn)
        task = asyncio.create_task(account_all(conn, Limits(first_page=1, page=2)))
        await eventually(lambda: asked.pages)
        await tell(pool, device, [last])
        await task
    await check(pool, database, device, [*history, late, last])


@pytest.mark.parametrize("seed", range(4))
async def test_readings_that_come_while_ingesters_account_again_are_all_accounted(
    pool: Pool, database: DatabaseSettings, seed: int
) -> None:
    random, history = Random(seed), days(1)
    device = await device_with(pool, history[::20])
    rest = [one for n, one in enumerate(history) if n % 20]
    random.shuffle(rest)
    told = asyncio.Event()

    async def ingester() -> None:
        async with pool.acquire() as conn:
            while not told.is_set() or await pool.fetchval(_WAIT):
                limits = Limits(first_page=random.randint(1, 5), page=random.randint(1, 60))
                await account_all(conn, limits)

    async def devices() -> None:
        for n in range(0, len(rest), 10):
            in_batch = random.choice([0, 10, 100])
            await tell(pool, device, rest[n : n + 10], Limits(in_batch, 5, 20))
        told.set()

    await asyncio.gather(ingester(), ingester(), devices())
    await check(pool, database, device, history)


@pytest.mark.parametrize("seed", range(3))
async def test_an_ingester_that_is_stopped_anywhere_has_changed_nothing_or_all(
    pool: Pool, database: DatabaseSettings, seed: int
) -> None:
    random, history = Random(seed), days(1)
    late = [history.pop(random.randrange(10, len(history) - 10)) for _ in range(3)]
    device = await device_with(pool, history)
    for one in late:
        await tell(pool, device, [one])
    while await pool.fetchval(_WAIT):
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


async def test_an_ingester_that_is_killed_leaves_the_books_whole_and_the_work_to_the_next(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = days(3)
    late = [history.pop(n) for n in (500, 12)]
    device = await device_with(pool, history)
    await tell(pool, device, late)
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
        # The server may take a moment to notice who is gone.
        async with pool.acquire() as conn:
            await account_all(conn)
        return await pool.fetchval(_WAIT) == 0

    await eventually(account)
    await check(pool, database, device, [*history, *late])


async def test_an_ingester_looks_for_what_waits(pool: Pool, database: DatabaseSettings) -> None:
    history = days(1)
    late = history.pop(100)
    device = await device_with(pool, history)
    await tell(pool, device, [late])
    registry = CollectorRegistry()
    watching = asyncio.create_task(
        late_readings.watch(pool, database, DEFAULT_RULES, IngestMetrics(registry))
    )

    async def done() -> bool:
        return await pool.fetchval(_WAIT) == 0

    await eventually(done)
    name = "solarhub_devices_reaccounted_total"
    await eventually(lambda: registry.get_sample_value(name) == 1)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await check(pool, database, device, [*history, late])


async def test_a_device_that_is_deleted_takes_along_what_waits_of_it(pool: Pool) -> None:
    history = days(1)
    device = await device_with(pool, history[1:])
    await tell(pool, device, history[:1])
    assert await pool.fetchval(_WAIT) == 1
    await pool.execute("DELETE FROM devices WHERE id = $1", device)
    assert await pool.fetchval(_WAIT) == 0
    async with pool.acquire() as conn:
        assert await account_all(conn) == 0
