"""History of an hour that a clock shows twice, from topic to rows."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from core.settings import DatabaseSettings
from db.pool import Pool
from ingest.messages import IngestMessage
from ingest.reaccounting import LIMITS, Limits
from ingest.writer import write
from tests.ingest.test_firmware_decoding import HORIZON, state_of
from tests.ingest.world import (
    account_what_waits,
    add_following_listing,
    add_named,
    intervals_of,
    message,
)
from tests.support.audits import failed_checks

BERLIN = ZoneInfo("Europe/Berlin")
BEGINS = datetime(2026, 10, 24, 22, tzinfo=UTC)
PUT_BACK_AT = datetime(2026, 10, 25, 1, tzinfo=UTC)
STEP = timedelta(minutes=5)
SERIAL = "NTCIA00001"


async def add_growatt(pool: Pool) -> UUID:
    device = await add_named(pool, "grott", SERIAL)
    await pool.execute("UPDATE devices SET time_zone = 'Europe/Berlin' WHERE id = $1", device)
    return device


def record(
    at: datetime, total: int, *, received_at: datetime, buffered: str = "yes", **values: float
) -> IngestMessage:
    document = {
        "device": SERIAL,
        "time": at.astimezone(BERLIN).strftime("%Y-%m-%dT%H:%M:%S"),
        "buffered": buffered,
        "values": {"pvpowerout": 100, "pvenergytotal": total, **values},
    }
    topic = f"energy/growatt/{SERIAL}"
    return message(topic, json.dumps(document).encode(), received_at=received_at)


def night(received_at: datetime, rises: Sequence[int] = (1,)) -> list[IngestMessage]:
    """Return five hours of history: 60 records, of which twelve times come twice."""
    total, history = 5000, []
    for n in range(60):
        total += rises[n % len(rises)]
        history.append(record(BEGINS + n * STEP, total, received_at=received_at, pvgridvoltage=n))
    return history


async def times_of(pool: Pool, device: UUID) -> list[tuple[datetime, float]]:
    rows = await pool.fetch(
        "SELECT time, energy_wh FROM telemetry WHERE device_id = $1 ORDER BY time", device
    )
    return [tuple(row) for row in rows]


async def is_sound(pool: Pool, database: DatabaseSettings) -> bool:
    async with pool.acquire() as conn:
        return await failed_checks(conn, database) == []


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("at_once", [1, 7, 60])
@pytest.mark.parametrize("seed", [None, -1, 1, 2, 3])
async def test_no_reading_of_the_hour_is_lost_in_any_order_of_arrival(
    pool: Pool, database: DatabaseSettings, seed: int | None, at_once: int, waits: bool
) -> None:
    device = await add_growatt(pool)
    history = night(BEGINS + timedelta(days=2))
    if seed == -1:
        history.reverse()
    elif seed is not None:
        Random(seed).shuffle(history)
    limits = Limits(in_batch=0, first_page=3, page=5) if waits else LIMITS
    for n in range(0, len(history), at_once):
        written = await write(pool, history[n : n + at_once], HORIZON, limits=limits)
        assert (written.received, written.duplicate) == (written.stored, 0)
        assert not waits or await is_sound(pool, database)
        if waits and n % 4 == 0:
            async with pool.acquire() as conn:
                await account_what_waits(conn, limits)
    async with pool.acquire() as conn:
        await account_what_waits(conn, limits)
    assert await times_of(pool, device) == [
        (BEGINS + n * STEP, (5001 + n) * 100) for n in range(60)
    ]
    state = await state_of(pool, device)
    assert (state["received"], state["stored"], state["duplicate"]) == (60, 60, 0)
    slots = await intervals_of(pool, device)
    assert [float(slot["generated_wh"]) for slot in slots] == [*[300] * 19, 200]
    assert await is_sound(pool, database)


async def test_history_that_is_sent_again_is_duplicate(
    pool: Pool, database: DatabaseSettings
) -> None:
    device = await add_growatt(pool)
    await add_following_listing(pool, device, BEGINS)
    history = night(BEGINS + timedelta(days=2))
    again = [*history, *history]
    Random(5).shuffle(again)
    for one in again:
        await write(pool, [one], HORIZON)
    state = await state_of(pool, device)
    assert (state["received"], state["stored"], state["duplicate"]) == (120, 60, 60)
    assert float(sum(slot["generated_wh"] for slot in await intervals_of(pool, device))) == 5900
    assert await is_sound(pool, database)


async def test_a_counter_that_does_not_rise_at_night_loses_no_reading(pool: Pool) -> None:
    times = []
    for seed in (1, 2):
        device = await add_growatt(pool)
        history = night(BEGINS + timedelta(days=2), rises=[0])
        Random(seed).shuffle(history)
        for one in history:
            await write(pool, [one], HORIZON)
        state = await state_of(pool, device)
        assert (state["stored"], state["duplicate"]) == (60, 0)
        rows = await pool.fetch(
            "SELECT time, voltage_v FROM telemetry WHERE device_id = $1 ORDER BY time", device
        )
        times.append([tuple(row) for row in rows])
        await pool.execute("UPDATE devices SET deleted_at = now() WHERE id = $1", device)
    assert times[0] == times[1]


async def test_a_prompt_reading_is_of_the_pass_in_which_it_is_received(pool: Pool) -> None:
    device = await add_growatt(pool)
    for n in range(60):
        at = BEGINS + n * STEP
        live = record(at, 5001 + n, received_at=at + timedelta(seconds=9), buffered="no")
        await write(pool, [live], HORIZON)
    assert [at for at, _ in await times_of(pool, device)] == [BEGINS + n * STEP for n in range(60)]


async def test_late_history_of_the_first_pass_is_stored_beside_the_second(
    pool: Pool, database: DatabaseSettings
) -> None:
    """A logger that is online again in the second pass sends what it stored meanwhile."""
    device = await add_growatt(pool)
    back_at = PUT_BACK_AT + timedelta(minutes=31)
    for n in range(30):
        at = BEGINS + n * STEP
        await write(pool, [record(at, 5001 + n, received_at=at, buffered="no")], HORIZON)
    for n in (*range(43, 50), *range(42, 29, -1), *range(50, 60)):
        at = BEGINS + n * STEP
        received_at = max(at, back_at)
        buffered = "yes" if at < back_at else "no"
        await write(
            pool, [record(at, 5001 + n, received_at=received_at, buffered=buffered)], HORIZON
        )
    assert [at for at, _ in await times_of(pool, device)] == [BEGINS + n * STEP for n in range(60)]
    assert await is_sound(pool, database)


async def test_after_a_clock_is_put_back_no_reading_is_in_the_future(
    pool: Pool,
) -> None:
    device = await add_growatt(pool)
    at = PUT_BACK_AT - timedelta(minutes=50)
    # Delayed by 40 minutes: the second instant is nearer, but in the future.
    await write(pool, [record(at, 5001, received_at=at + timedelta(minutes=40))], HORIZON)
    assert [time for time, _ in await times_of(pool, device)] == [at]
