"""The headline of the control room, and the totals of a device."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from core.units import rfc3339, slot_of
from db.pool import Pool
from tests.api.conftest import Api, code_of
from tests.support.people import Person, add_device, add_listing, add_purchase, add_user

ADMIN = "/api/v1/admin"
_SEEN = """
UPDATE device_states SET status = 'online', last_seen_at = now(), battery_soc_pct = 55
 WHERE device_id = $1
"""
_COUNTED = """
INSERT INTO energy_interval (device_id, slot_start, generated_wh, surplus_wh, quality)
VALUES ($1, $2, $3, $4, 'measured')
"""
_IMPORTED = "INSERT INTO telemetry (device_id, time, import_wh) VALUES ($1, $2, $3)"


@pytest.fixture
async def admin(pool: Pool) -> Person:
    return await add_user(pool, "admin")


async def measured_home(pool: Pool, host: Person) -> UUID:
    """Add a device that generated 1,500 Wh in this slot and 4,000 Wh six days ago."""
    device_id = await add_device(pool, host)
    await pool.execute(_SEEN, device_id)
    slot = slot_of(datetime.now(UTC))
    for at, generated_wh in ((slot, 1500), (slot - timedelta(days=6), 4000)):
        await pool.execute(_COUNTED, device_id, at, Decimal(generated_wh), Decimal(1000))
    return device_id


async def test_the_headline_adds_up_a_period(api: Api, pool: Pool, admin: Person) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=1000)
    device_id = await measured_home(pool, host)
    listing_id = await add_listing(pool, host, device_id=device_id, kwh=10, price_per_kwh=6)
    await add_purchase(pool, buyer, listing_id, kwh=Decimal("2.5"))
    headline = await api.get(f"{ADMIN}/headline", admin)
    assert headline["generated_kwh"] == "1.500"
    assert (headline["transactions"], headline["energy_kwh"]) == (1, "2.500")
    assert (headline["total_price"], headline["average_price_per_kwh"]) == ("15.00", "6.0000")
    assert (headline["grid_retail_price"], headline["grid_export_price"]) == ("8.0000", "3.0000")
    assert Decimal(headline["co2_avoided_kg"]) == Decimal("1.050")  # 1.5 kWh at 700 g
    since = rfc3339(datetime.now(UTC) - timedelta(days=6, minutes=20))
    week = await api.get(f"{ADMIN}/headline", admin, **{"from": since})
    assert week["generated_kwh"] == "5.500"


async def test_the_headline_of_an_empty_hub_has_no_price(
    api: Api, pool: Pool, admin: Person
) -> None:
    headline = await api.get(f"{ADMIN}/headline", admin)
    assert headline["average_price_per_kwh"] is None
    assert headline["generated_kwh"] == headline["energy_kwh"] == "0.000"


async def test_a_period_has_a_limit(api: Api, admin: Person) -> None:
    since = rfc3339(datetime.now(UTC) - timedelta(days=8))
    response = await api.call("GET", f"{ADMIN}/headline", admin, params={"from": since})
    assert code_of(response) == "invalid"


async def test_only_administrators_see_totals(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host)
    for path in ("headline", f"devices/{device_id}/totals"):
        assert code_of(await api.call("GET", f"{ADMIN}/{path}", host)) == "forbidden"


async def test_a_device_has_totals_of_a_period_and_of_its_lifetime(
    api: Api, pool: Pool, admin: Person
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, balance=1000)
    device_id = await measured_home(pool, host)
    now = datetime.now(UTC)
    for ago_min, import_wh in ((0, 7300.0), (5, 7000.0)):
        await pool.execute(_IMPORTED, device_id, now - timedelta(minutes=ago_min), import_wh)
    listing_id = await add_listing(pool, host, device_id=device_id, kwh=10, price_per_kwh=6)
    await add_purchase(pool, buyer, listing_id, kwh=2)
    totals = await api.get(f"{ADMIN}/devices/{device_id}/totals", admin)
    assert totals["period"] == {
        "generated_wh": 1500, "exported_wh": 1000, "imported_wh": 300, "sold_kwh": "2.000",
        "earned": "11.40",
    }  # fmt: skip
    assert totals["lifetime"]["generated_wh"] == 5500
    assert totals["lifetime"]["imported_wh"] == 7300


async def test_a_device_that_sent_nothing_has_no_import(
    api: Api, pool: Pool, admin: Person
) -> None:
    device_id = await add_device(pool, await add_user(pool, "host"))
    totals = await api.get(f"{ADMIN}/devices/{device_id}/totals", admin)
    assert totals["period"]["imported_wh"] is None
    assert totals["lifetime"]["generated_wh"] == 0


async def test_the_map_names_owners_and_sellers_and_shows_batteries(
    api: Api, pool: Pool, admin: Person
) -> None:
    host, seller = await add_user(pool, "host"), await add_user(pool, "host")
    await measured_home(pool, host)
    await add_listing(pool, seller)
    shown = await api.get(f"{ADMIN}/map", admin)
    assert shown["names"] == {str(host.id): "Host", str(seller.id): "Host"}
    [device] = shown["devices"]
    assert (device["owner_id"], device["battery_soc_pct"]) == (str(host.id), 55)
