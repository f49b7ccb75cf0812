"""Readings in any order, and repeated, give the same energy."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from core.accounting import advance
from core.readings import Reading
from core.settings import DatabaseSettings
from core.units import wh_of_mwh
from db import checkpoints, device_states
from db.pool import Pool
from ingest.late_readings import account_all
from ingest.reaccounting import Limits
from ingest.writer import write
from tests.ingest.world import (
    account_what_waits,
    add_device,
    add_following_listing,
    detailed,
    intervals_of,
)
from tests.support.audits import failed_checks
from tests.support.meters import CAPACITY_W, NOON, histories, histories_in_parts

RECEIVED_AT = NOON + timedelta(days=30)
LATE_HORIZON = timedelta(days=31)


@st.composite
def arrivals(draw: st.DrawFn, history: list[Reading]) -> list[list[Reading]]:
    """Draw batches that hold each reading at least once, in any order."""
    again = draw(st.lists(st.sampled_from(history), max_size=10))
    sent = draw(st.permutations(history + again))
    sizes = draw(st.lists(st.integers(1, 15), min_size=len(sent), max_size=len(sent)))
    batches = []
    while sent:
        size = sizes.pop()
        batches.append(sent[:size])
        sent = sent[size:]
    return batches


def limits_of_pages() -> st.SearchStrategy[Limits]:
    """Draw limits so low that a batch and a page hold only a part of a history."""
    return st.builds(
        Limits,
        in_batch=st.sampled_from([0, 3, 20]),
        first_page=st.integers(1, 4),
        page=st.integers(1, 10),
    )


@settings(max_examples=25)
@given(st.data())
async def test_any_order_and_any_repetition_give_the_same_intervals(
    pool: Pool, database: DatabaseSettings, data: st.DataObject
) -> None:
    await pool.execute("DELETE FROM devices")
    history = data.draw(st.one_of(histories(), histories_in_parts()))
    device = await add_device(pool, CAPACITY_W)
    await add_following_listing(pool, device, NOON - timedelta(hours=1))
    for batch in data.draw(arrivals(history)):
        await write(pool, [detailed(device, *batch, received_at=RECEIVED_AT)], LATE_HORIZON)
    await check(pool, database, device, history)


@settings(max_examples=25)
@given(st.data())
async def test_waiting_late_readings_give_the_same_intervals_and_the_audit_passes_meanwhile(
    pool: Pool, database: DatabaseSettings, data: st.DataObject
) -> None:
    await pool.execute("DELETE FROM devices")
    history = data.draw(st.one_of(histories(), histories_in_parts()))
    device = await add_device(pool, CAPACITY_W)
    await add_following_listing(pool, device, NOON - timedelta(hours=1))
    limits = data.draw(limits_of_pages())
    async with pool.acquire() as conn:
        for batch in data.draw(arrivals(history)):
            message = detailed(device, *batch, received_at=RECEIVED_AT)
            await write(pool, [message], LATE_HORIZON, limits=limits)
            await check_books(pool, database)
            if data.draw(st.booleans()):
                await account_all(conn, limits)
                await check_books(pool, database)
        await account_what_waits(conn, limits)
    await check(pool, database, device, history)


async def check_books(pool: Pool, database: DatabaseSettings) -> None:
    async with pool.acquire() as conn:
        assert await failed_checks(conn, database) == []


async def check(
    pool: Pool, database: DatabaseSettings, device: UUID, history: list[Reading]
) -> None:
    """Compare the intervals of a device with those of its history in order."""
    in_order = advance(None, history, CAPACITY_W)
    assert in_order is not None
    assert {row["slot_start"]: tuple(row)[1:] for row in await intervals_of(pool, device)} == {
        slot: (
            wh_of_mwh(interval.generated_mwh),
            wh_of_mwh(interval.surplus_mwh),
            interval.quality,
            sorted(interval.reasons),
        )
        for slot, interval in in_order.intervals.items()
    }
    sellable_wh = sum((i.sellable_wh for i in in_order.intervals.values()), Decimal(0))
    listed_wh = await pool.fetchval(
        "SELECT measured_wh FROM energy_listings WHERE device_id = $1", device
    )
    assert listed_wh == sellable_wh
    async with pool.acquire() as conn, conn.transaction():
        state = (await device_states.lock(conn, [device]))[device]
        assert state.account == in_order.account
        kept = await checkpoints.between(conn, device, NOON - timedelta(days=1), RECEIVED_AT)
        assert kept == in_order.checkpoints
    await check_books(pool, database)
