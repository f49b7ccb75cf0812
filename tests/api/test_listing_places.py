"""Places of listings: exact for the seller, rounded to 0.01° for everybody else."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.geo import distance_km
from core.units import rfc3339
from db.pool import Pool
from tests.api.conftest import Api
from tests.support.people import Person, add_device, add_user

LISTINGS = "/api/v1/marketplace/listings"
NEARBY = "/api/v1/location/nearby-listings"
PURCHASE = "/api/v1/marketplace/purchase"
MAP = "/api/v1/admin/map"
# The homes of a street. Rounded to 0.01 degrees, their places are equal.
HOME, OTHER_END = (12.9716, 77.5946), (12.9739, 77.5862)
SHOWN = (12.97, 77.59)


async def offer(api: Api, seller: Person, home: tuple[float, float], **more: Any) -> Any:
    now = datetime.now(UTC)
    body = {
        "energy_amount_kwh": 10,
        "price_per_kwh": 6,
        "available_from": rfc3339(now - timedelta(minutes=1)),
        "available_to": rfc3339(now + timedelta(days=1)),
        "latitude": home[0],
        "longitude": home[1],
    } | more
    return await api.post(LISTINGS, seller, body)


def place(listing: Any) -> tuple[float, float]:
    return listing["latitude"], listing["longitude"]


async def everywhere(api: Api, pool: Pool, listing_id: str) -> dict[str, Any]:
    """Return the listing as each route shows it to users other than its seller."""
    buyer = await add_user(pool, balance=100)
    admin = await add_user(pool, "admin")
    url = f"{LISTINGS}/{listing_id}"
    around = {"lat": SHOWN[0], "lon": SHOWN[1], "radius_km": 5}
    order = {"listing_id": listing_id, "energy_kwh": 1}
    shown = {
        "single": await api.get(url, buyer),
        "to an administrator": await api.get(url, admin),
        "newest": (await api.get(LISTINGS, buyer))["items"][0],
        "cheapest": (await api.get(LISTINGS, buyer, sort="price_per_kwh"))["items"][0],
        "nearby": (await api.get(NEARBY, buyer, **around))["items"][0],
        "on the map": (await api.get(MAP, admin))["listings"][0],
        "purchase": (await api.post(PURCHASE, buyer, order))["listing"],
    }
    rows = await pool.fetch("SELECT type, data FROM outbox WHERE type LIKE 'listing.%' ORDER BY id")
    return shown | {f"event {row['type']}": row["data"] for row in rows}


async def test_others_see_the_place_rounded_to_a_hundredth_of_a_degree(
    api: Api, pool: Pool
) -> None:
    listing = await offer(api, await add_user(pool, "host"), HOME)
    shown = await everywhere(api, pool, listing["id"])
    assert {name: place(one) for name, one in shown.items()} == dict.fromkeys(shown, SHOWN)
    assert not any(one["exact_location"] for one in shown.values())
    assert {"event listing.created", "event listing.updated"} < set(shown)


async def test_the_seller_sees_the_exact_place(api: Api, pool: Pool) -> None:
    host = await add_user(pool, "host")
    made = await offer(api, host, HOME)
    url = f"{LISTINGS}/{made['id']}"
    changed = await api.call("PATCH", url, host, json={"price_per_kwh": 7})
    shown = [made, await api.get(url, host), changed.json()["data"]]
    for query in ({}, {"status": "active"}, {"seller_id": str(host.id)}):
        for sort in ("created_at", "price_per_kwh"):
            shown += (await api.get(LISTINGS, host, sort=sort, **query))["items"]
    shown.append((await api.call("DELETE", url, host)).json()["data"])
    assert [place(listing) for listing in shown] == [HOME] * 10


async def test_the_places_of_devices_and_homes_are_rounded_too(api: Api, pool: Pool) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool)
    nowhere = {"latitude": None, "longitude": None}
    device_id = str(await add_device(pool, host, place=HOME))
    of_device = await offer(api, host, HOME, **nowhere, device_id=device_id)
    await api.call("PUT", "/api/v1/location/update", host, json={"lat": HOME[0], "lon": HOME[1]})
    of_home = await offer(api, host, HOME, **nowhere)
    for listing in (of_device, of_home):
        assert place(listing) == HOME
        assert place(await api.get(f"{LISTINGS}/{listing['id']}", buyer)) == SHOWN


async def test_a_host_can_publish_the_exact_place(api: Api, pool: Pool) -> None:
    listing = await offer(api, await add_user(pool, "host"), HOME, exact_location=True)
    shown = await everywhere(api, pool, listing["id"])
    assert {name: place(one) for name, one in shown.items()} == dict.fromkeys(shown, HOME)
    assert all(one["exact_location"] for one in shown.values())


@pytest.mark.parametrize("spot", [(12.9716, 77.5946), (12.98, 77.6), (13.0, 77.5)])
async def test_no_query_can_distinguish_the_homes_of_a_street(
    api: Api, pool: Pool, spot: tuple[float, float]
) -> None:
    """Distance, membership in a circle and order are equal, wherever the query starts."""
    buyer = await add_user(pool)
    for home in (HOME, OTHER_END):
        await offer(api, await add_user(pool, "host"), home)
    around = {"lat": spot[0], "lon": spot[1]}
    away_km = distance_km(*spot, *SHOWN)
    found = (await api.get(NEARBY, buyer, **around, radius_km=20))["items"]
    assert [item["distance_km"] for item in found] == [round(away_km, 3)] * 2
    assert [item["id"] for item in found] == sorted(item["id"] for item in found)
    for radius_km, count in ((away_km - 1e-6, 0), (away_km + 1e-6, 2)):
        near = await api.get(NEARBY, buyer, **around, radius_km=radius_km)
        assert len(near["items"]) == count
