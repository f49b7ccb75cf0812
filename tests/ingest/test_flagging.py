"""Energy that looks wrong raises a flag, however it arrives, and may pause what is on offer."""

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


# The slots of a day that is over.
_DAY = [NOW - n * SLOT for n in range(96, 192)]
NOON = max(_DAY, key=lambda slot: elevation_deg(slot, *BANGALORE))
MIDNIGHT = min(_DAY, key=lambda slot: elevation_deg(slot, *BANGALORE))


async def flagged(pool: Pool, device_id: UUID, rules: SellingRules = RULES) -> list[Flag]:
    """What a look at all devices that are due leaves open of one."""
    while await check_devices(pool, rules, HORIZON, recheck_after=AT_ONCE):
        pass
    async with pool.acquire() as conn:
        return await flags.newest(
            conn, before_id=2**62, limit=10, state="open", device_id=device_id
        )


async def tell(pool: Pool, device_id: UUID, *readings: Reading, **rules: Any) -> None:
    await write(pool, [telemetry(device_id, *readings)], HORIZON, **rules)


def saw_tooth(begin: datetime, hours: int) -> list[Reading]:
    """A counter that goes to and fro between 500 and 1,000 Wh, each way in five minutes."""
    values = [500.0 + 500 * (n % 2) for n in range(12 * hours)]
    return counting(begin, values)


async def add_inverter(pool: Pool, **more: Any) -> UUID:
    return await add_device(pool, await add_user(pool, "host"), **more)


async def test_a_saw_tooth_is_flagged_with_its_resets(pool: Pool) -> None:
    device = await add_inverter(pool)
    await tell(pool, device, *saw_tooth(NOON, 3))
    found = {flag.kind: flag for flag in await flagged(pool, device)}
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
            await tell(pool, device, one)
        Random(seed).shuffle(history)
        evidence.append([(f.kind, f.energy_wh, f.evidence) for f in await flagged(pool, device)])
    assert evidence[0]
    assert evidence == [evidence[0]] * 3


async def test_a_meter_that_starts_anew_in_power_cuts_is_not(pool: Pool) -> None:
    device = await add_inverter(pool)
    level, readings = 0.0, []
    for n in range(60):
        level = 30.0 if n % 12 == 11 else level + 100
        readings.append(Reading(NOON + n * timedelta(minutes=5), energy_wh=level))
    await tell(pool, device, *readings)
    assert await flagged(pool, device) == []


async def test_generation_at_night_is_flagged_but_not_that_of_a_battery(pool: Pool) -> None:
    night = counting(MIDNIGHT, range(1000, 2000, 100))
    roof, battery, hybrid, placeless = [await add_inverter(pool) for _ in range(4)]
    await pool.execute("UPDATE devices SET kind = 'battery' WHERE id = $1", battery)
    await pool.execute(
        "UPDATE devices SET latitude = NULL, longitude = NULL WHERE id = $1", placeless
    )
    charged = Reading(MIDNIGHT - timedelta(hours=1), energy_wh=1000.0, battery_soc_pct=80.0)
    await tell(pool, hybrid, charged, *night)
    for device in (roof, battery, placeless):
        await tell(pool, device, *night)
    [flag] = await flagged(pool, roof)
    assert flag.kind == "night_generation"
    assert flag.energy_wh == 900
    assert all(one["sun_at_most_deg"] < -50 for one in flag.evidence["examples"])
    for device in (battery, hybrid, placeless):
        assert await flagged(pool, device) == []


async def test_a_silent_night_says_nothing_of_when_it_was_generated(pool: Pool) -> None:
    device = await add_inverter(pool)
    evening, morning = MIDNIGHT - timedelta(hours=9), MIDNIGHT + timedelta(hours=9)
    await tell(pool, device, Reading(evening, energy_wh=1000.0), Reading(morning, energy_wh=9000.0))
    assert await flagged(pool, device) == []


async def test_hours_near_the_limit_are_flagged_also_in_one_message_of_a_week(pool: Pool) -> None:
    steep = await add_inverter(pool)
    await tell(pool, steep, *counting(NOON, range(1000, 16_000, 500)))
    [flag] = await flagged(pool, steep)
    assert flag.kind == "near_limit"
    assert flag.evidence["mean_power_w"] == 6000
    assert flag.evidence["limit_w"] == 6250
    week = await add_inverter(pool)
    begin = NOW - timedelta(days=6)
    await tell(pool, week, Reading(begin, energy_wh=1.0), Reading(NOW, energy_wh=6.2 * 144_000))
    assert {flag.kind for flag in await flagged(pool, week)} == {"near_limit", "night_generation"}


async def test_a_device_that_says_no_place_is_where_its_energy_is_sold(pool: Pool) -> None:
    device = await add_inverter(pool)
    await pool.execute("UPDATE devices SET latitude = NULL, longitude = NULL")
    await add_following_listing(pool, device, NOW - timedelta(days=6))
    await tell(pool, device, *counting(MIDNIGHT, range(1000, 2000, 100)))
    [flag] = await flagged(pool, device)
    assert (flag.kind, flag.energy_wh) == ("night_generation", 900)


@pytest.mark.parametrize("days", [1, 6, 20])
async def test_a_silence_hides_no_generation_at_night(pool: Pool, days: int) -> None:
    """Less than its capacity on average, but more than all daylight makes."""
    honest, device = await add_inverter(pool), await add_inverter(pool)
    for one, mean_w in ((honest, 1500), (device, 4500)):
        begin = NOW - timedelta(days=days)
        first = telemetry(one, Reading(begin, energy_wh=1000.0), received_at=begin)
        await write(pool, [first], HORIZON)
        await tell(pool, one, Reading(NOW, energy_wh=1000.0 + mean_w * 24 * days))
    assert await flagged(pool, honest) == []
    assert [flag.kind for flag in await flagged(pool, device)] == ["night_generation"]


async def test_a_plain_day_raises_nothing(pool: Pool) -> None:
    device = await add_inverter(pool)
    await tell(pool, device, *counting(NOON, range(1000, 9000, 200)))
    assert await flagged(pool, device) == []
    assert (
        await pool.fetchval("SELECT count(*) FROM device_states WHERE flags_due_from IS NULL") == 1
    )


async def test_an_open_flag_grows_with_its_evidence_and_there_is_one_of_a_kind(pool: Pool) -> None:
    device = await add_inverter(pool)
    await tell(pool, device, *counting(MIDNIGHT, range(1000, 2000, 100)))
    [first] = await flagged(pool, device)
    await tell(pool, device, Reading(MIDNIGHT + timedelta(minutes=50), energy_wh=2300.0))
    [grown] = await flagged(pool, device)
    assert (grown.id, grown.energy_wh) == (first.id, 1300)
    assert grown.updated_at > grown.created_at == first.created_at


async def test_what_was_confirmed_is_not_raised_again_for_a_month(pool: Pool) -> None:
    device, admin = await add_inverter(pool), await add_user(pool, "admin")
    await tell(pool, device, *counting(MIDNIGHT, range(1000, 2000, 100)))
    assert await flagged(pool, device)
    async with pool.acquire() as conn:
        assert await flags.confirm(conn, device, ["night_generation"], admin.id) == [
            "night_generation"
        ]
    more = Reading(MIDNIGHT + timedelta(minutes=50), energy_wh=2300.0)
    await tell(pool, device, more)
    assert await flagged(pool, device) == []
    await pool.execute("UPDATE flags SET confirmed_at = now() - interval '31 days'")
    await tell(pool, device, Reading(MIDNIGHT + timedelta(minutes=55), energy_wh=2400.0))
    assert [flag.kind for flag in await flagged(pool, device)] == ["night_generation"]


@pytest.mark.parametrize(("rules", "becomes"), [(RULES, "active"), (PAUSING, "paused")])
async def test_a_flag_pauses_what_is_on_offer_if_it_is_to(
    pool: Pool, rules: SellingRules, becomes: str
) -> None:
    host = await add_user(pool, "host")
    device = await add_device(pool, host)
    follows = await add_following_listing(pool, device, NOW - timedelta(days=6))
    stated = await add_listing(pool, host)
    await pool.execute("UPDATE energy_listings SET device_id = $2 WHERE id = $1", stated, device)
    await tell(pool, device, *counting(MIDNIGHT, range(1000, 2000, 100)), rules=rules)
    assert await flagged(pool, device, rules)
    # Readings that follow don't let it go.
    await tell(pool, device, Reading(NOW, energy_wh=3000.0), rules=rules)
    for listing in (follows, stated):
        status = await pool.fetchval("SELECT status FROM energy_listings WHERE id = $1", listing)
        assert status == becomes


async def test_ingesters_side_by_side_look_at_each_device_once(pool: Pool) -> None:
    devices = [await add_inverter(pool) for _ in range(60)]
    for device in devices:
        await tell(pool, device, *counting(MIDNIGHT, range(1000, 1500, 100)))
    looked = await asyncio.gather(
        *(check_devices(pool, RULES, HORIZON, recheck_after=AT_ONCE) for _ in range(4))
    )
    looked += [await check_devices(pool, RULES, HORIZON, recheck_after=AT_ONCE)]
    assert sum(looked) == 60
    assert await pool.fetchval("SELECT count(*) FROM flags") == 60


async def test_a_device_is_looked_at_once_a_minute_at_most(pool: Pool) -> None:
    device = await add_inverter(pool)
    for n in range(2):
        await tell(pool, device, *counting(NOON + n * timedelta(hours=1), [1000.0, 1100.0]))
        assert await check_devices(pool, RULES, HORIZON) == (0 if n else 1)


async def test_an_ingester_looks_by_itself(pool: Pool) -> None:
    device = await add_inverter(pool)
    watching = asyncio.create_task(watch(pool, RULES, HORIZON, every_s=0.05))
    try:
        await tell(pool, device, *counting(MIDNIGHT, range(1000, 2000, 100)))

        async def is_flagged() -> bool:
            return await pool.fetchval("SELECT count(*) FROM flags") == 1

        await eventually(is_flagged)
    finally:
        watching.cancel()


async def test_the_flags_of_a_meter_come_back_with_it(pool: Pool) -> None:
    first = await add_inverter(pool, external_id="114182940773")
    await tell(pool, first, *counting(MIDNIGHT, range(1000, 2000, 100)))
    assert await flagged(pool, first)
    await pool.execute("UPDATE devices SET deleted_at = now() WHERE id = $1", first)
    again = await add_inverter(pool, external_id="114182940773")
    async with pool.acquire() as conn, conn.transaction():
        await meters.carry_over(conn, again)
    [flag] = await flagged(pool, again)
    assert (flag.kind, flag.energy_wh) == ("night_generation", 900)
    assert await pool.fetchval("SELECT flagged FROM device_states WHERE device_id = $1", again)
