"""Late readings and sales: early energy is never sold, and a carried state counts once."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from core.earning import account_readings
from core.readings import Reading
from core.selling import SellingRules
from core.settings import DatabaseSettings
from core.units import SLOT, slot_of
from db import intervals
from db.pool import Pool
from ingest.late_readings import account_all
from ingest.reaccounting import Limits
from ingest.writer import write
from tests.ingest.late_devices import QueryLog
from tests.ingest.test_any_order import arrivals, check_books, limits_of_pages
from tests.ingest.test_same_meter import LATE_HORIZON, RECEIVED_AT, register, sellable_wh, terms_of
from tests.ingest.world import account_what_waits, counting, detailed
from tests.support.meters import CAPACITY_W, NOON, histories, histories_in_parts
from tests.support.waiting import eventually

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
WAITING = Limits(in_batch=0, first_page=3, page=7)
USUAL = Limits()

_REMOVE = "UPDATE devices SET deleted_at = now() WHERE id = $1"
_WAIT = "SELECT count(*) FROM unaccounted_readings"


async def store(
    pool: Pool, device: UUID, readings: Sequence[Reading], limits: Limits = WAITING
) -> None:
    message = detailed(device, *readings, received_at=RECEIVED_AT)
    await write(pool, [message], LATE_HORIZON, limits=limits)


async def check(
    pool: Pool, database: DatabaseSettings, device: UUID, history: Sequence[Reading]
) -> None:
    """Check that intervals and sellable energy of a device are those of these readings in order."""
    terms = await terms_of(pool, device)
    in_order = sorted(history, key=lambda one: one.time or NOON)
    expected = account_readings(None, in_order, CAPACITY_W, terms)
    assert expected is not None
    async with pool.acquire() as conn:
        assert await intervals.between(conn, device) == expected.intervals
    await check_books(pool, database)
    assert await sellable_wh(pool, device) == sum(
        (i.sellable_wh for s, i in expected.intervals.items() if s >= slot_of(terms.earns_from)),
        Decimal(0),
    )


async def name_of_a_meter(pool: Pool) -> str:
    return f"meter {await pool.fetchval('SELECT gen_random_uuid()')}"


def every_minute(count: int, begin: datetime = NOON) -> list[Reading]:
    return counting(begin, range(1_000, 1_000 + 10 * count, 10), MINUTE)


@settings(max_examples=25)
@given(st.data())
async def test_waiting_readings_of_a_known_meter_give_the_same_in_any_order(
    pool: Pool, database: DatabaseSettings, data: st.DataObject
) -> None:
    await pool.execute("DELETE FROM devices")
    history = data.draw(st.one_of(histories(), histories_in_parts()))
    known = data.draw(st.lists(st.sampled_from(history), unique_by=lambda r: r.time))
    name = await name_of_a_meter(pool)
    first = await register(pool, name, NOON - DAY)
    for one in known:
        await store(pool, first, [one], USUAL)
    await pool.execute(_REMOVE, first)
    removed_at = max((one.time for one in known if one.time), default=NOON)
    earns_from = removed_at + timedelta(minutes=data.draw(st.integers(0, 90)))
    device = await register(pool, name, earns_from)
    limits = data.draw(limits_of_pages())
    for batch in data.draw(arrivals(history)):
        await store(pool, device, batch, limits)
        await check_books(pool, database)
        if data.draw(st.booleans()):
            async with pool.acquire() as conn:
                await account_all(conn, limits)
            await check_books(pool, database)
    async with pool.acquire() as conn:
        await account_what_waits(conn, limits)
    await check(pool, database, device, history)


async def test_a_late_reading_divides_the_slot_of_earns_from_again(
    pool: Pool, database: DatabaseSettings
) -> None:
    """Without it, all energy of the slot is credited across the instant, so it is early."""
    device = await register(pool, await name_of_a_meter(pool), NOON + 10 * MINUTE)
    history = counting(NOON, [1_000, 1_300], 14 * MINUTE)
    await store(pool, device, history)
    assert await sellable_wh(pool, device) == 0
    late = Reading(NOON + 11 * MINUTE, energy_wh=1_120)
    await store(pool, device, [late])
    assert await sellable_wh(pool, device) == 0
    async with pool.acquire() as conn:
        await account_what_waits(conn, WAITING)
    assert await sellable_wh(pool, device) == 180
    await check(pool, database, device, [*history, late])


async def test_a_late_reading_from_before_earns_from_adds_nothing_to_sell(
    pool: Pool, database: DatabaseSettings
) -> None:
    device = await register(pool, await name_of_a_meter(pool), NOON + 70 * MINUTE)
    history = every_minute(120)
    late = [history.pop(n) for n in (100, 72, 70, 69, 66, 30, 0)]
    await store(pool, device, history)
    sold = await sellable_wh(pool, device)
    for one in late[3:]:
        await store(pool, device, [one])
        async with pool.acquire() as conn:
            await account_what_waits(conn, WAITING)
        # A reading from before the instant makes a part of the energy credited across it sellable:
        # less than that of a minute.
        assert await sellable_wh(pool, device) <= sold + 10
    await store(pool, device, late[:3])
    async with pool.acquire() as conn:
        await account_what_waits(conn, WAITING)
    await check(pool, database, device, [*history, *late])


async def test_energy_of_a_carried_state_is_not_sold_again_when_it_arrives_late(
    pool: Pool, database: DatabaseSettings
) -> None:
    name, earlier = await name_of_a_meter(pool), every_minute(200)
    first = await register(pool, name, NOON - DAY)
    await store(pool, first, earlier, USUAL)
    assert await sellable_wh(pool, first) == 1_990
    await pool.execute(_REMOVE, first)
    device = await register(pool, name, NOON + 200 * MINUTE)
    later = every_minute(30, NOON + 215 * MINUTE)
    later = [replace(one, energy_wh=(one.energy_wh or 0) + 2_100) for one in later]
    await store(pool, device, later[-1:])
    offered = await sellable_wh(pool, device)
    # The whole past, newest first, in batches that are all late.
    for n in range(len(earlier), 0, -40):
        await store(pool, device, earlier[n - 40 : n])
        async with pool.acquire() as conn:
            await account_what_waits(conn, WAITING)
        assert await sellable_wh(pool, device) == offered
    await store(pool, device, later[:-1])
    async with pool.acquire() as conn:
        await account_what_waits(conn, WAITING)
    await check(pool, database, device, [*earlier, *later])
    shown = sum(i.surplus_mwh for i in (await intervals_between(pool, device)).values())
    # Intervals show the energy that is sent again, and later energy only since the last reading.
    assert shown == 1_990_000 + (3_390 - 2_990) * 1_000


async def intervals_between(pool: Pool, device: UUID) -> dict[datetime, intervals.Interval]:
    async with pool.acquire() as conn:
        return await intervals.between(conn, device)


async def test_a_gap_after_a_carried_state_can_be_filled_late(
    pool: Pool, database: DatabaseSettings
) -> None:
    name = await name_of_a_meter(pool)
    first = await register(pool, name, NOON - DAY)
    await store(pool, first, counting(NOON, [1_000, 1_100, 1_200]), USUAL)
    await pool.execute(_REMOVE, first)
    device = await register(pool, name, NOON + 11 * MINUTE)
    history = [Reading(NOON + n * MINUTE, energy_wh=1_200 + 10 * n) for n in (12, 30, 45)]
    for limits in (USUAL, WAITING):
        await store(pool, device, history[-1:] if limits is USUAL else history[1:2], limits)
        async with pool.acquire() as conn:
            await account_what_waits(conn, WAITING)
    await store(pool, device, history[:1])
    async with pool.acquire() as conn:
        await account_what_waits(conn, WAITING)
    await check(pool, database, device, history)


async def test_a_silent_counter_of_a_carried_state_changes_slots_before_later_readings(
    pool: Pool, database: DatabaseSettings
) -> None:
    """Export was reported once, early. Old and new late readings wait together."""
    name, earlier = await name_of_a_meter(pool), every_minute(120)
    earlier[3] = replace(earlier[3], export_wh=1_000.0)
    first = await register(pool, name, NOON - DAY)
    await store(pool, first, earlier, USUAL)
    await pool.execute(_REMOVE, first)
    device = await register(pool, name, NOON + 125 * MINUTE)
    history = [replace(one, time=(one.time or NOON) + 130 * MINUTE) for one in earlier[:60]]
    history = [replace(one, energy_wh=(one.energy_wh or 0) + 1_300) for one in history]
    exporting = replace(history[0], time=NOON + 127 * MINUTE, export_wh=1_400.0)
    plain = [replace(one, export_wh=None) for one in [*earlier[90:100], *history]]
    await store(pool, device, plain)
    await store(pool, device, [earlier[80], exporting])
    async with pool.acquire() as conn:
        await account_what_waits(conn, Limits(in_batch=0, first_page=1, page=2))
    await check(pool, database, device, [*plain, earlier[80], exporting])


async def test_a_change_of_earns_from_during_reaccounting_takes_effect(
    pool: Pool, database: DatabaseSettings
) -> None:
    earns_from = NOON + 100 * MINUTE
    device = await register(pool, await name_of_a_meter(pool), earns_from)
    history = every_minute(400)
    late = history.pop(102)
    await store(pool, device, history)
    await store(pool, device, [late])
    async with pool.acquire() as conn, pool.acquire() as administrator:
        log = QueryLog(conn)
        task = asyncio.create_task(account_all(conn, Limits(first_page=1, page=1)))
        await eventually(lambda: log.pages)
        async with administrator.transaction():
            await intervals.clear_early(administrator, device, slot_of(earns_from))
            await administrator.execute(
                "UPDATE device_states SET earns_from = $2 WHERE device_id = $1", device, NOON
            )
            await administrator.execute(
                "UPDATE energy_listings l SET measured_from = $2, measured_wh = ("
                " SELECT sum(sellable_wh(quality, surplus_wh, early_wh)) FROM energy_interval"
                "  WHERE device_id = $1) WHERE l.device_id = $1",
                device,
                NOON,
            )
        await task
    async with pool.acquire() as conn:
        await account_what_waits(conn, WAITING)
    await check(pool, database, device, [*history, late])


async def test_waiting_readings_of_a_removed_device_are_accounted(
    pool: Pool, database: DatabaseSettings
) -> None:
    name, history = await name_of_a_meter(pool), every_minute(200)
    late = history.pop(50)
    device = await register(pool, name, NOON - DAY)
    await store(pool, device, history)
    await store(pool, device, [late])
    terms = await terms_of(pool, device)
    await pool.execute(_REMOVE, device)
    await check_books(pool, database)
    async with pool.acquire() as conn:
        await account_what_waits(conn, WAITING)
    assert await pool.fetchval(_WAIT) == 0
    in_order = sorted([*history, late], key=lambda one: one.time or NOON)
    expected = account_readings(None, in_order, CAPACITY_W, terms)
    assert expected is not None
    assert await intervals_between(pool, device) == expected.intervals


async def test_late_energy_of_a_frozen_device_is_accounted_and_not_for_sale(
    pool: Pool, database: DatabaseSettings
) -> None:
    history = every_minute(200)
    late = history.pop()
    device = await register(pool, await name_of_a_meter(pool), NOON - DAY)
    history.append(Reading(NOON + 260 * MINUTE, energy_wh=4_000))
    await store(pool, device, history)
    await store(pool, device, [late])
    await pool.execute("UPDATE device_states SET frozen = true WHERE device_id = $1", device)
    async with pool.acquire() as conn:
        assert await account_all(conn, WAITING, SellingRules()) == 1
    status = "SELECT status FROM energy_listings WHERE device_id = $1"
    assert await pool.fetchval(status, device) == "paused"
    await check(pool, database, device, [*history, late])


async def test_flags_are_checked_from_the_first_slot_that_a_late_reading_changes(
    pool: Pool,
) -> None:
    history = every_minute(200)
    # The energy up to the next reading is divided differently from this reading on.
    late = Reading(NOON + 2 * SLOT + MINUTE / 2, energy_wh=history[30].energy_wh)
    device = await register(pool, await name_of_a_meter(pool), NOON - DAY)
    await store(pool, device, [one for n, one in enumerate(history) if not 10 < n < 50])
    await pool.execute("UPDATE device_states SET flags_due_from = NULL")
    await store(pool, device, [late])
    due = "SELECT flags_due_from FROM device_states WHERE device_id = $1"
    assert await pool.fetchval(due, device) is None
    async with pool.acquire() as conn:
        await account_what_waits(conn, WAITING)
    assert await pool.fetchval(due, device) == NOON
