"""A meter that is removed and registered again: no Wh of it is credited twice, in any order."""

from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from core.earning import EarningTerms, account_readings
from core.readings import Reading
from core.settings import DatabaseSettings
from core.units import slot_of
from db import device_states, intervals, meters
from db.pool import Pool
from ingest.writer import write
from tests.ingest.test_any_order import arrivals
from tests.ingest.world import add_following_listing, counting, detailed
from tests.support.audits import failed_checks
from tests.support.meters import CAPACITY_W, NOON, histories, histories_in_parts
from tests.support.people import add_device, add_user

RECEIVED_AT = NOON + timedelta(days=30)
LATE_HORIZON = timedelta(days=31)
DAY = timedelta(days=1)

_REMOVE = "UPDATE devices SET deleted_at = now() WHERE id = $1"
_SELLABLE = """
SELECT coalesce(sum(sellable_wh(quality, surplus_wh, early_wh)), 0)
  FROM energy_interval JOIN device_states USING (device_id)
 WHERE device_id = $1 AND slot_start > earns_from - interval '15 minutes'
"""


async def register(pool: Pool, external_id: str, earns_from: datetime) -> UUID:
    """Register a device with the name of a meter, of a new owner."""
    owner = await add_user(pool, "host")
    device = await add_device(
        pool, owner, capacity_w=CAPACITY_W, external_id=external_id, earns_from=earns_from
    )
    async with pool.acquire() as conn, conn.transaction():
        await meters.carry_over(conn, device)
    await add_following_listing(pool, device, NOON - DAY)
    await pool.execute(
        """
        UPDATE energy_listings l
           SET measured_from = date_bin('15 minutes', s.earns_from, '2000-01-01Z')
          FROM device_states s WHERE s.device_id = $1 AND l.device_id = $1
        """,
        device,
    )
    return device


async def store(pool: Pool, device: UUID, *batches: list[Reading]) -> None:
    for batch in batches:
        await write(pool, [detailed(device, *batch, received_at=RECEIVED_AT)], LATE_HORIZON)


async def terms_of(pool: Pool, device: UUID) -> EarningTerms:
    async with pool.acquire() as conn, conn.transaction():
        return (await device_states.lock(conn, [device]))[device].terms


async def sellable_wh(pool: Pool, device: UUID) -> Decimal:
    """Return the sellable energy of a device, after checking that its listing has the same."""
    offered = await pool.fetchval(
        "SELECT measured_wh FROM energy_listings WHERE device_id = $1", device
    )
    assert offered == await pool.fetchval(_SELLABLE, device)
    return Decimal(offered)


@settings(max_examples=25)
@given(st.data())
async def test_readings_that_a_meter_sends_again_give_the_same_in_any_order(
    pool: Pool, database: DatabaseSettings, data: st.DataObject
) -> None:
    history = data.draw(st.one_of(histories(), histories_in_parts()))
    known = data.draw(st.lists(st.sampled_from(history), unique_by=lambda r: r.time))
    name = f"meter {await pool.fetchval('SELECT gen_random_uuid()')}"
    first = await register(pool, name, NOON - DAY)
    await store(pool, first, *([one] for one in known))
    await pool.execute(_REMOVE, first)

    removed_at = max((one.time for one in known if one.time), default=NOON)
    second = await register(
        pool, name, removed_at + timedelta(minutes=data.draw(st.integers(0, 90)))
    )
    await store(pool, second, *data.draw(arrivals(history)))
    terms = await terms_of(pool, second)
    assert (terms.carried is None) == (known == [])
    expected = account_readings(None, history, CAPACITY_W, terms)
    assert expected is not None
    async with pool.acquire() as conn:
        assert await intervals.between(conn, second) == expected.intervals
        assert await failed_checks(conn, database) == []
    assert await sellable_wh(pool, second) == sum(
        interval.sellable_wh
        for slot, interval in expected.intervals.items()
        if slot >= slot_of(terms.earns_from)
    )


async def test_energy_is_sold_once_however_often_a_meter_is_registered(pool: Pool) -> None:
    forty_kwh = counting(NOON, range(1_000, 42_000, 1_000), timedelta(minutes=15))
    ends = NOON + 41 * timedelta(minutes=15)
    first = await register(pool, "114182940773", NOON - DAY)
    await store(pool, first, forty_kwh)
    assert await sellable_wh(pool, first) == 40_000
    for _ in range(2):
        await pool.execute(_REMOVE, first)
        first = await register(pool, "114182940773", ends)
        await store(pool, first, forty_kwh)
        assert await sellable_wh(pool, first) == 0
        async with pool.acquire() as conn:
            shown = await intervals.between(conn, first)
        assert sum(interval.surplus_mwh for interval in shown.values()) == 40_000_000
    # Half of the next energy was generated before: only the other half is the new owner's.
    await store(pool, first, [Reading(ends + timedelta(minutes=15), energy_wh=41_600.0)])
    assert await sellable_wh(pool, first) == 300


async def test_the_state_of_a_meter_survives_the_deletion_of_its_owner(pool: Pool) -> None:
    first = await register(pool, "114182940773", NOON - DAY)
    await store(pool, first, counting(NOON, [1000, 1100, 1200]))
    await pool.execute(
        "DELETE FROM users WHERE id = (SELECT owner_id FROM devices WHERE id = $1)", first
    )
    again = await register(pool, "114182940773", NOON)
    carried = (await terms_of(pool, again)).carried
    assert carried is not None
    assert carried.last_at == NOON + timedelta(minutes=10)
    # The device was ahead of the clock: energy that is accounted already is sold to no one again.
    assert (await terms_of(pool, again)).earns_from == carried.last_at


async def test_a_device_without_readings_leaves_the_state_of_its_meter_unchanged(
    pool: Pool,
) -> None:
    first = await register(pool, "114182940773", NOON - DAY)
    await store(pool, first, counting(NOON, [1000, 1100, 1200]))
    carried_before = None
    for _ in range(3):
        await pool.execute(_REMOVE, first)
        first = await register(pool, "114182940773", NOON + DAY)
        carried = (await terms_of(pool, first)).carried
        assert carried_before in (None, carried)
        carried_before = carried
    assert carried_before is not None


async def test_devices_without_an_external_id_are_separate_meters(pool: Pool) -> None:
    owner = await add_user(pool, "host")
    first = await add_device(pool, owner)
    await store(pool, first, counting(NOON, [1000, 1100]))
    await pool.execute(_REMOVE, first)
    second = await add_device(pool, owner)
    async with pool.acquire() as conn:
        await meters.carry_over(conn, second)
    assert (await terms_of(pool, second)).carried is None
    assert await pool.fetchval("SELECT count(*) FROM meters") == 0
