"""Listings that follow a device: battery reserve, pauses of the seller, sales and windows."""

from decimal import Decimal

import pytest

from db import purchases
from db.pool import Pool
from db.purchases import Purchase, PurchaseOrder
from ingest.listing_sync import expire_listings
from tests.ingest.followed_devices import (
    add_followed_device,
    listing_of,
    reading,
    status,
    take_events,
)
from tests.ingest.test_writer import ingest
from tests.support.people import add_user


async def test_a_battery_below_its_reserve_pauses_the_listing(pool: Pool) -> None:
    device, listing_id = await add_followed_device(pool)
    await pool.execute("UPDATE energy_listings SET reserve_soc_pct = 30")
    for minute, soc, becomes in ((20, 30, "active"), (21, 29.9, "paused"), (22, 30, "active")):
        await ingest(pool, reading(device, minute, soc=soc))
        assert (await listing_of(pool, listing_id)).status == becomes
    assert (await take_events(pool)).count("listing.paused") == 1


async def test_the_charge_is_that_of_the_latest_measurement(pool: Pool) -> None:
    device, listing_id = await add_followed_device(pool)
    await pool.execute("UPDATE energy_listings SET reserve_soc_pct = 30")

    async def charge() -> float | None:
        value = await pool.fetchval("SELECT battery_soc_pct FROM device_states")
        return None if value is None else float(value)

    # In one batch, the newer one first.
    await ingest(pool, reading(device, 22, soc=80), reading(device, 21, soc=20))
    assert await charge() == 80
    # Late ones: older than the latest charge; and newer, before a reading without a charge.
    await ingest(pool, reading(device, 20, soc=10))
    assert await charge() == 80
    await ingest(pool, reading(device, 30))
    await ingest(pool, reading(device, 25, soc=15), reading(device, 23, soc=90))
    assert await charge() == 15
    assert (await listing_of(pool, listing_id)).status == "paused"


async def test_a_device_does_not_resume_a_listing_that_its_seller_paused(pool: Pool) -> None:
    device, listing_id = await add_followed_device(pool)
    await pool.execute("UPDATE energy_listings SET status = 'paused', paused_by = 'seller'")
    for reported in ("offline", "online", "fault", "online"):
        await ingest(pool, status(device, reported))
        found = await listing_of(pool, listing_id)
        assert (found.status, found.paused_by) == ("paused", "seller")
    await ingest(pool, reading(device, 30))
    assert (await listing_of(pool, listing_id)).energy_amount_kwh == Decimal("0.3")


async def test_new_energy_activates_a_listing_that_is_sold_out(pool: Pool) -> None:
    device, listing_id = await add_followed_device(pool)
    buyer = await add_user(pool, balance=100)
    async with pool.acquire() as conn:
        order = PurchaseOrder(buyer.id, listing_id, Decimal("0.25"), None, None)
        [bought] = await purchases.purchase(conn, [order], fee_rate=Decimal(0))
    assert isinstance(bought, Purchase)
    assert (await listing_of(pool, listing_id)).status == "sold"
    await take_events(pool)
    await ingest(pool, reading(device, 30))
    found = await listing_of(pool, listing_id)
    assert (found.status, found.energy_amount_kwh) == ("active", Decimal("0.05"))
    assert await take_events(pool) == ["listing.resumed"]


@pytest.mark.parametrize("reported", ["online", "offline", "fault"])
async def test_a_listing_expires_at_the_end_of_its_window_whatever_the_device_reports(
    pool: Pool, reported: str
) -> None:
    device, listing_id = await add_followed_device(pool)
    await pool.execute("UPDATE energy_listings SET available_to = now() - interval '1 second'")
    await ingest(pool, status(device, reported), reading(device, 30))
    assert (await listing_of(pool, listing_id)).status == "expired"
    assert "listing.expired" in await take_events(pool)
    await ingest(pool, status(device, "online"), reading(device, 31))
    assert await expire_listings(pool) == 0
    assert (await listing_of(pool, listing_id)).status == "expired"
