"""Flags for energy that looks wrong, in any order of arrival, and the listings they pause."""

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest

from core.readings import Reading
from core.selling import SellingRules
from core.sun import elevation_deg
from core.units import SLOT, slot_of
from db import flags, meters
from db.flags import Flag
from db.pool import Pool
from ingest.flagging import check_devices, watch
from ingest.writer import write
from tests.ingest.world import add_following_listing, counting, telemetry
from tests.support.people import BANGALORE, add_device, add_listing, add_user
from tests.support.waiting import eventually

RULES = SellingRules()
PAUSING = SellingRules(flags_pause_selling=True)
HORIZON = timedelta(days=7)
AT_ONCE = timedelta(0)
NOW = slot_of(datetime.now(UTC))


# The slots of a past day.
_DAY = [NOW - n * SLOT for n in range(96, 192)]
NOON = max(_DAY, key=lambda slot: elevation_deg(slot, *BANGALORE))
MIDNIGHT = min(_DAY, key=lambda slot: elevation_deg(slot, *BANGALORE))


async def open_flags(pool: Pool, device_id: UUID, rules: SellingRules = RULES) -> list[Flag]:
    """Check all devices that are due, and return the open flags of one."""
    while await check_devices(pool, rules, HORIZON, recheck_after=AT_ONCE):
        pass
    async with pool.acquire() as conn:
        return await flags.newest(
            conn, before_id=2**62, limit=10, state="open", device_id=device_id
        )


async def store(pool: Pool, device_id: UUID, *readings: Reading, **rules: Any) -> None:
    await write(pool, [telemetry(device_id, *readings)], HORIZON, **rules)


def saw_tooth(begin: datetime, hours: int) -> list[Reading]:
    """Return readings of a counter that alternates between 500 and 1,000 Wh every five minutes."""
    values = [500.0 + 500 * (n % 2) for n in range(12 * hours)]
    return counting(begin, values)


async def add_inverter(pool: Pool, **more: Any) -> UUID:
    return await add_device(pool, await add_user(pool, "host"), **more)


async def test_a_saw_tooth_is_flagged_with_its_resets(pool: Pool) -> None:
    device = await add_inverter(pool)
    await store(pool, device, *saw_tooth(NOON, 3))
    found = {flag.kind: flag for flag in await open_flags(pool, device)}
    flag = found["earning_resets"]
    assert flag.state == "open"
    assert flag.evidence["resets_seen"] >= 12
    assert flag.energy_wh > 5_000
    assert {one["energy_wh"] for one in flag.evidence["largest"]} == {500.0}
    assert flag.created_at == flag.updated_at


async def test_the_order_of_arrival_makes_no_difference(pool: Pool) -> None:
    evidence = []
    history = saw_tooth(NOON, 2)
    for seed in range(3):
        device = await add_inverter(pool)
        for one in history:
            await store(pool, device, one)
        Random(seed).shuffle(history)
        evidence.append([(f.kind, f.energy_wh, f.evidence) for f in await open_flags(pool, device)])
    assert evidence[0]
    assert evidence == [evidence[0]] * 3


async def test_a_meter_that_restarts_in_power_cuts_is_not_flagged(pool: Pool) -> None:
    device = await add_inverter(pool)
    level, readings = 0.0, []
    for n in range(60):
        level = 30.0 if n % 12 == 11 else level + 100
        readings.append(Reading(NOON + n * timedelta(minutes=5), energy_wh=level))
    await store(pool, device, *readings)
    assert await open_flags(pool, device) == []


async def test_generation_at_night_is_flagged_but_not_that_of_a_battery(pool: Pool) -> None:
    night = counting(MIDNIGHT, range(1000, 2000, 100))
    roof, battery, hybrid, placeless = [await add_inverter(pool) for _ in range(4)]
    await pool.execute("UPDATE devices SET kind = 'battery' WHERE id = $1", battery)
    await pool.execute(
        "UPDATE devices SET latitude = NULL, longitude = NULL WHERE id = $1", placeless
    )
    charged = Reading(MIDNIGHT - timedelta(hours=1), energy_wh=1000.0, battery_soc_pct=80.0)
    await store(pool, hybrid, charged, *night)
    for device in (roof, battery, placeless):
        await store(pool, device, *night)
    [flag] = await open_flags(pool, roof)
    assert flag.kind == "night_generation"
    assert flag.energy_wh == 900
    assert all(one["sun_at_most_deg"] < -50 for one in flag.evidence["examples"])
    for device in (battery, hybrid, placeless):
        assert await open_flags(pool, device) == []


async def test_energy_of_a_silent_night_is_not_flagged(pool: Pool) -> None:
    device = await add_inverter(pool)
    evening, morning = MIDNIGHT - timedelta(hours=9), MIDNIGHT + timedelta(hours=9)
    await store(
        pool, device, Reading(evening, energy_wh=1000.0), Reading(morning, energy_wh=9000.0)
    )
    assert await open_flags(pool, device) == []


async def test_hours_near_the_capacity_are_flagged_also_in_one_message_of_a_week(
    pool: Pool,
) -> None:
    steep = await add_inverter(pool)
    await store(pool, steep, *counting(NOON, range(1000, 16_000, 500)))
    [flag] = await open_flags(pool, steep)
    assert flag.kind == "near_limit"
    assert flag.evidence["mean_power_w"] == 6000
    assert flag.evidence["limit_w"] == 6250
    week = await add_inverter(pool)
    begin = NOW - timedelta(days=6)
    await store(pool, week, Reading(begin, energy_wh=1.0), Reading(NOW, energy_wh=6.2 * 144_000))
    assert {flag.kind for flag in await open_flags(pool, week)} == {
        "near_limit",
        "night_generation",
    }


async def test_a_device_that_says_no_place_is_where_its_energy_is_sold(pool: Pool) -> None:
    device = await add_inverter(pool)
    await pool.execute("UPDATE devices SET latitude = NULL, longitude = NULL")
    await add_following_listing(pool, device, NOW - timedelta(days=6))
    await store(pool, device, *counting(MIDNIGHT, range(1000, 2000, 100)))
    [flag] = await open_flags(pool, device)
    assert (flag.kind, flag.energy_wh) == ("night_generation", 900)


@pytest.mark.parametrize("days", [1, 6, 20])
async def test_a_silence_hides_no_generation_at_night(pool: Pool, days: int) -> None:
    """Less than its capacity on average, but more than all daylight makes."""
    honest, device = await add_inverter(pool), await add_inverter(pool)
    for one, mean_w in ((honest, 1500), (device, 4500)):
        begin = NOW - timedelta(days=days)
        first = telemetry(one, Reading(begin, energy_wh=1000.0), received_at=begin)
        await write(pool, [first], HORIZON)
        await store(pool, one, Reading(NOW, energy_wh=1000.0 + mean_w * 24 * days))
    assert await open_flags(pool, honest) == []
    assert [flag.kind for flag in await open_flags(pool, device)] == ["night_generation"]


async def test_an_ordinary_day_raises_no_flag(pool: Pool) -> None:
    device = await add_inverter(pool)
    await store(pool, device, *counting(NOON, range(1000, 9000, 200)))
    assert await open_flags(pool, device) == []
    assert (
        await pool.fetchval("SELECT count(*) FROM device_states WHERE flags_due_from IS NULL") == 1
    )


async def test_new_evidence_is_added_to_the_open_flag_of_its_kind(pool: Pool) -> None:
    device = await add_inverter(pool)
    await store(pool, device, *counting(MIDNIGHT, range(1000, 2000, 100)))
    [first] = await open_flags(pool, device)
    await store(pool, device, Reading(MIDNIGHT + timedelta(minutes=50), energy_wh=2300.0))
    [grown] = await open_flags(pool, device)
    assert (grown.id, grown.energy_wh) == (first.id, 1300)
    assert grown.updated_at > grown.created_at == first.created_at


async def test_a_confirmed_flag_is_not_raised_again_for_a_month(pool: Pool) -> None:
    device, admin = await add_inverter(pool), await add_user(pool, "admin")
    await store(pool, device, *counting(MIDNIGHT, range(1000, 2000, 100)))
    assert await open_flags(pool, device)
    async with pool.acquire() as conn:
        assert await flags.confirm(conn, device, ["night_generation"], admin.id) == [
            "night_generation"
        ]
    more = Reading(MIDNIGHT + timedelta(minutes=50), energy_wh=2300.0)
    await store(pool, device, more)
    assert await open_flags(pool, device) == []
    await pool.execute("UPDATE flags SET confirmed_at = now() - interval '31 days'")
    await store(pool, device, Reading(MIDNIGHT + timedelta(minutes=55), energy_wh=2400.0))
    assert [flag.kind for flag in await open_flags(pool, device)] == ["night_generation"]


@pytest.mark.parametrize(("rules", "becomes"), [(RULES, "active"), (PAUSING, "paused")])
async def test_a_flag_pauses_listings_if_the_setting_says_so(
    pool: Pool, rules: SellingRules, becomes: str
) -> None:
    host = await add_user(pool, "host")
    device = await add_device(pool, host)
    follows = await add_following_listing(pool, device, NOW - timedelta(days=6))
    stated = await add_listing(pool, host)
    await pool.execute("UPDATE energy_listings SET device_id = $2 WHERE id = $1", stated, device)
    await store(pool, device, *counting(MIDNIGHT, range(1000, 2000, 100)), rules=rules)
    assert await open_flags(pool, device, rules)
    # Later readings do not resume it.
    await store(pool, device, Reading(NOW, energy_wh=3000.0), rules=rules)
    for listing in (follows, stated):
        status = await pool.fetchval("SELECT status FROM energy_listings WHERE id = $1", listing)
        assert status == becomes


async def test_parallel_ingesters_check_each_device_once(pool: Pool) -> None:
    devices = [await add_inverter(pool) for _ in range(60)]
    for device in devices:
        await store(pool, device, *counting(MIDNIGHT, range(1000, 1500, 100)))
    looked = await asyncio.gather(
        *(check_devices(pool, RULES, HORIZON, recheck_after=AT_ONCE) for _ in range(4))
    )
    looked += [await check_devices(pool, RULES, HORIZON, recheck_after=AT_ONCE)]
    assert sum(looked) == 60
    assert await pool.fetchval("SELECT count(*) FROM flags") == 60


async def test_a_device_is_checked_at_most_once_a_minute(pool: Pool) -> None:
    device = await add_inverter(pool)
    for n in range(2):
        await store(pool, device, *counting(NOON + n * timedelta(hours=1), [1000.0, 1100.0]))
        assert await check_devices(pool, RULES, HORIZON) == (0 if n else 1)


async def test_the_ingester_checks_devices_regularly(pool: Pool) -> None:
    device = await add_inverter(pool)
    watching = asyncio.create_task(watch(pool, RULES, HORIZON, every_s=0.05))
    try:
        await store(pool, device, *counting(MIDNIGHT, range(1000, 2000, 100)))

        async def is_flagged() -> bool:
            return await pool.fetchval("SELECT count(*) FROM flags") == 1

        await eventually(is_flagged)
    finally:
        watching.cancel()


async def test_a_meter_that_is_registered_again_has_its_flags(pool: Pool) -> None:
    first = await add_inverter(pool, external_id="114182940773")
    await store(pool, first, *counting(MIDNIGHT, range(1000, 2000, 100)))
    assert await open_flags(pool, first)
    await pool.execute("UPDATE devices SET deleted_at = now() WHERE id = $1", first)
    again = await add_inverter(pool, external_id="114182940773")
    async with pool.acquire() as conn, conn.transaction():
        await meters.carry_over(conn, again)
    [flag] = await open_flags(pool, again)
    assert (flag.kind, flag.energy_wh) == ("night_generation", 900)
    assert await pool.fetchval("SELECT flagged FROM device_states WHERE device_id = $1", again)
