"""Listings: creation and changes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from core.units import SLOT, rfc3339, slot_of
from db.pool import Pool
from tests.api.conftest import Api, code_of, data_of, fields_of
from tests.support.people import BANGALORE, Person, add_device, add_listing, add_user

LISTINGS = "/api/v1/marketplace/listings"
NOW = datetime.now(UTC)


def offer(**changes: Any) -> dict[str, Any]:
    return {
        "energy_amount_kwh": "12.5",
        "price_per_kwh": 6.5,
        "available_from": rfc3339(NOW - timedelta(minutes=1)),
        "available_to": rfc3339(NOW + timedelta(days=1)),
        "latitude": 12.97,
        "longitude": 77.59,
    } | changes


async def create(api: Api, seller: Person, **changes: Any) -> httpx.Response:
    return await api.call("POST", LISTINGS, seller, json=offer(**changes))


async def change(api: Api, seller: Person, listing: Any, **changes: Any) -> httpx.Response:
    return await api.call("PATCH", f"{LISTINGS}/{listing['id']}", seller, json=changes)


async def events(pool: Pool) -> list[tuple[str, list[str], Any]]:
    rows = await pool.fetch("SELECT type, channels, data FROM outbox ORDER BY id")
    return [(row["type"], row["channels"], row["data"]) for row in rows]


async def test_a_new_listing_is_shown_to_everybody_and_announced_alike(
    api: Api, pool: Pool
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool, "buyer")
    listing = data_of(await create(api, host))
    assert listing["energy_amount_kwh"] == "12.500"
    assert listing["sold_kwh"] == "0.000"
    assert listing["price_per_kwh"] == "6.5000"
    assert listing["status"] == "active"
    assert listing["seller_id"] == str(host.id)
    assert await api.get(f"{LISTINGS}/{listing['id']}", buyer) == listing
    channels = ["listings", f"listing:{listing['id']}"]
    assert await events(pool) == [("listing.created", channels, listing)]


async def test_only_hosts_create_listings(api: Api, pool: Pool) -> None:
    assert code_of(await create(api, await add_user(pool, "buyer"))) == "forbidden"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("energy_amount_kwh", {"energy_amount_kwh": 0}),
        ("energy_amount_kwh", {"energy_amount_kwh": "1.0001"}),
        ("price_per_kwh", {"price_per_kwh": 0}),
        ("available_to", {"available_to": rfc3339(NOW - timedelta(hours=1))}),
        ("available_to", {"available_from": rfc3339(NOW + timedelta(days=2))}),
        ("available_from", {"available_from": "2026-03-01T06:30:00"}),
        ("available_from", {"available_from": "0001-01-01T00:00:00+14:00"}),
        ("device_id", {"auto_adjust": True}),
        ("price_floor", {"pricing": "dynamic"}),
        ("price_cap", {"pricing": "dynamic", "price_floor": 5}),
        ("price_cap", {"pricing": "dynamic", "price_floor": 8, "price_cap": 7}),
        ("price_per_kwh", {"pricing": "dynamic", "price_floor": 7, "price_cap": 8}),
        ("reserve_soc_pct", {"reserve_soc_pct": 101}),
    ],
)
async def test_an_invalid_listing_is_refused(
    api: Api, pool: Pool, field: str, changes: dict[str, Any]
) -> None:
    host = await add_user(pool, "host")
    assert fields_of(await create(api, host, **changes)) == [field]


async def test_the_place_is_the_given_one_else_the_devices_else_the_default_address(
    api: Api, pool: Pool
) -> None:
    host = await add_user(pool, "host")
    nowhere = {"latitude": None, "longitude": None}
    assert code_of(await create(api, host, **nowhere)) == "no_location"
    home = {"lat": 13.1, "lon": 77.1}
    await api.call("PUT", "/api/v1/location/update", host, json=home)
    device_id = str(await add_device(pool, host, place=BANGALORE))

    def place(response: httpx.Response) -> tuple[float, float]:
        return data_of(response)["latitude"], data_of(response)["longitude"]

    assert place(await create(api, host, **nowhere)) == (13.1, 77.1)
    assert place(await create(api, host, **nowhere, device_id=device_id)) == BANGALORE
    assert place(await create(api, host, device_id=device_id)) == (12.97, 77.59)


async def test_the_place_of_a_listing_may_be_spelled_either_way(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    body = {
        "energy_amount_kwh": 10,
        "price_per_kwh": 6,
        "available_from": rfc3339(NOW),
        "available_to": rfc3339(NOW + timedelta(days=1)),
        "exact_location": True,
    }
    listing = await api.post(LISTINGS, host, body | {"lat": 12.5, "longitude": 77.5})
    assert (listing["latitude"], listing["longitude"]) == (12.5, 77.5)
    for field, place in (
        ("lon", {"latitude": 12.5, "longitude": 77.5, "lon": 77.5}),
        ("lat", {"lat": 91, "lon": 77.5}),
        ("longitude", {"lat": 12.5}),
    ):
        response = await api.call("POST", LISTINGS, host, json=body | place)
        assert fields_of(response) == [field]


async def test_a_listing_of_another_hosts_device_is_refused(api: Api, pool: Pool) -> None:
    device_id = str(await add_device(pool, await add_user(pool, "host")))
    thief = await add_user(pool, "host")
    response = await create(api, thief, device_id=device_id, auto_adjust=True)
    assert (response.status_code, code_of(response)) == (404, "not_found")


async def add_surplus(pool: Pool, device_id: UUID, slots: Sequence[tuple[datetime, int]]) -> None:
    await pool.executemany(
        "INSERT INTO energy_interval (device_id, slot_start, generated_wh, surplus_wh, quality)"
        " VALUES ($1, $2, $3, $3, 'measured')",
        [(device_id, start, Decimal(wh)) for start, wh in slots],
    )


def following(device_id: UUID, available_from: datetime) -> dict[str, Any]:
    return {
        "device_id": str(device_id),
        "auto_adjust": True,
        "energy_amount_kwh": 0,
        "available_from": rfc3339(available_from),
    }


async def test_a_metered_listing_starts_with_the_energy_measured_in_its_window(
    api: Api, pool: Pool
) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host)
    start = slot_of(NOW) - 4 * SLOT
    await add_surplus(pool, device_id, [(start - SLOT, 7000), (start, 100), (start + SLOT, 250)])
    listing = data_of(await create(api, host, **following(device_id, start)))
    assert listing["energy_amount_kwh"] == "0.350"


async def test_a_window_that_starts_within_a_slot_excludes_the_earlier_energy_of_the_slot(
    api: Api, pool: Pool
) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host)
    start = slot_of(NOW) - 4 * SLOT
    await add_surplus(pool, device_id, [(start, 100), (start + SLOT, 250)])
    inside = start + timedelta(minutes=7)
    listing = data_of(await create(api, host, **following(device_id, inside)))
    assert listing["energy_amount_kwh"] == "0.250"
    row = await pool.fetchrow("SELECT measured_from, baseline_wh FROM energy_listings")
    assert row is not None
    assert (row["measured_from"], row["baseline_wh"]) == (start, 100)


async def test_energy_of_an_earlier_listing_is_not_offered_again(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host)
    start = slot_of(NOW) - 4 * SLOT
    # A reading may be minutes ahead of the clock: in the slot after this one.
    await add_surplus(
        pool, device_id, [(start, 300), (slot_of(NOW), 400), (slot_of(NOW) + SLOT, 50)]
    )
    first = data_of(await create(api, host, **following(device_id, start)))
    assert first["energy_amount_kwh"] == "0.750"
    assert code_of(await create(api, host, **following(device_id, start))) == "open_listing_exists"
    await api.call("DELETE", f"{LISTINGS}/{first['id']}", host)
    second = data_of(await create(api, host, **following(device_id, start)))
    assert Decimal(second["energy_amount_kwh"]) <= Decimal("0.050")


async def test_a_metered_listing_is_paused_while_its_device_is_offline(
    api: Api, pool: Pool
) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host)
    await pool.execute("UPDATE device_states SET status = 'offline'")
    listing = data_of(await create(api, host, **following(device_id, NOW)))
    assert listing["status"] == "paused"
    response = await change(api, host, listing, status="active")
    assert code_of(response) == "illegal_move"


async def test_a_seller_changes_price_amount_and_window(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    listing = data_of(await create(api, host))
    until = rfc3339(NOW + timedelta(days=3))
    changes = {"price_per_kwh": "7.25", "energy_amount_kwh": 3, "available_to": until}
    changed = data_of(await change(api, host, listing, **changes))
    assert changed["price_per_kwh"] == "7.2500"
    assert changed["energy_amount_kwh"] == "3.000"
    assert changed["available_to"] == until
    assert changed["version"] == 2
    assert (await events(pool))[-1] == (
        "listing.updated", ["listings", f"listing:{listing['id']}"], changed,
    )  # fmt: skip
    assert data_of(await change(api, host, listing, price_per_kwh=7.25)) == changed
    assert len(await events(pool)) == 2


async def test_a_seller_pauses_and_resumes(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    listing = data_of(await create(api, host))
    assert data_of(await change(api, host, listing, status="paused"))["status"] == "paused"
    assert data_of(await change(api, host, listing, status="active"))["status"] == "active"
    types = [event[0] for event in await events(pool)]
    assert types == ["listing.created", "listing.paused", "listing.resumed"]


async def test_amount_and_start_of_a_metered_listing_can_not_be_changed(
    api: Api, pool: Pool
) -> None:
    host = await add_user(pool, "host")
    device_id = await add_device(pool, host)
    listing = data_of(await create(api, host, **following(device_id, NOW)))
    assert fields_of(await change(api, host, listing, energy_amount_kwh=5)) == ["energy_amount_kwh"]
    response = await change(api, host, listing, available_from=rfc3339(NOW))
    assert fields_of(response) == ["available_from"]


async def test_a_cancelled_listing_stays_cancelled(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    listing = data_of(await create(api, host))
    cancelled = data_of(await api.call("DELETE", f"{LISTINGS}/{listing['id']}", host))
    assert cancelled["status"] == "cancelled"
    assert (await events(pool))[-1][0] == "listing.cancelled"
    assert (await events(pool))[-1][2] == cancelled
    again = await api.call("DELETE", f"{LISTINGS}/{listing['id']}", host)
    assert (again.status_code, code_of(again)) == (409, "illegal_move")
    assert code_of(await change(api, host, listing, status="active")) == "illegal_move"


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ("sold", "active"), ("sold", "paused"),
        ("expired", "active"), ("expired", "paused"), ("expired", "cancelled"),
        ("cancelled", "active"), ("cancelled", "paused"), ("cancelled", "cancelled"),
    ],
)  # fmt: skip
async def test_an_illegal_change_of_status_is_named(
    api: Api, pool: Pool, status: str, wanted: str
) -> None:
    host = await add_user(pool, "host")
    listing = {"id": str(await add_listing(pool, host))}
    await pool.execute(
        "UPDATE energy_listings SET status = $1, closed_at = CASE WHEN $1 <> 'sold' THEN now() END",
        status,
    )
    if wanted == "cancelled":
        refused = await api.call("DELETE", f"{LISTINGS}/{listing['id']}", host)
    else:
        refused = await change(api, host, listing, status=wanted)
    assert (refused.status_code, code_of(refused)) == (409, "illegal_move")
    expected = f"A listing that is {status} can't become {wanted}."
    assert refused.json()["message"] == expected
    assert (await api.get(f"{LISTINGS}/{listing['id']}", host))["status"] == status


async def test_only_the_seller_changes_a_listing(api: Api, pool: Pool) -> None:
    listing = {"id": str(await add_listing(pool, await add_user(pool, "host")))}
    other = await add_user(pool, "host")
    assert code_of(await change(api, other, listing, price_per_kwh=1)) == "forbidden"
    assert code_of(await api.call("DELETE", f"{LISTINGS}/{listing['id']}", other)) == "forbidden"
