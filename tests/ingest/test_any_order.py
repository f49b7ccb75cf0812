"""Whatever order readings arrive in, however often, the database holds the same energy."""

from datetime import timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from core.accounting import advance
from core.readings import Reading
from core.settings import DatabaseSettings
from core.units import wh_of_mwh
from db.audit import audit
from db.pool import Pool
from ingest.writer import write
from tests.ingest.world import add_device, add_following_listing, detailed, intervals_of
from tests.support.meters import CAPACITY_W, NOON, histories, histories_in_parts

RECEIVED_AT = NOON + timedelta(days=30)
LATE_HORIZON = timedelta(days=31)


@st.composite
def arrivals(draw: st.DrawFn, history: list[Reading]) -> list[list[Reading]]:
    """Batches that hold each reading at least once, in any order."""
    again = draw(st.lists(st.sampled_from(history), max_size=10))
    sent = draw(st.permutations(history + again))
    sizes = draw(st.lists(st.integers(1, 15), min_size=len(sent), max_size=len(sent)))
    batches = []
    while sent:
        size = sizes.pop()
        batches.append(sent[:size])
        sent = sent[size:]
    return batches


@settings(max_examples=25)
@given(st.data())
async def test_any_order_and_any_repetition_give_the_same_intervals(
    pool: Pool, database: DatabaseSettings, data: st.DataObject
) -> None:
    history = data.draw(st.one_of(histories(), histories_in_parts()))
    device = await add_device(pool, CAPACITY_W)
    await add_following_listing(pool, device, NOON - timedelta(hours=1))
    for batch in data.draw(arrivals(history)):
        await write(pool, [detailed(device, *batch, received_at=RECEIVED_AT)], LATE_HORIZON)
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
    async with pool.acquire() as conn:
        assert [c.name async for c in audit(conn, database) if not c.ok] == []
