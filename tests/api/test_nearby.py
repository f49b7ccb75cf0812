"""What is near the caller."""

from typing import Any

from db.pool import Pool
from tests.api.conftest import Api, code_of, fields_of
from tests.support.people import BANGALORE, add_device, add_listing, add_user

NEARBY = "/api/v1/location/nearby-listings"
UPDATE = "/api/v1/location/update"


async def test_without_any_place_nothing_is_near(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool)
    response = await api.call("GET", NEARBY, buyer, params={"radius_km": 5})
    assert (response.status_code, code_of(response)) == (409, "no_location")


async def test_the_default_address_moves(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool)
    first = (await api.call("PUT", UPDATE, buyer, json={"lat": 1, "lon": 2})).json()["data"]
    assert (first["label"], first["is_default"]) == ("home", True)
    body = {"latitude": 3, "longitude": 4, "label": "work"}
    moved = (await api.call("PUT", UPDATE, buyer, json=body)).json()["data"]
    assert moved == first | {"latitude": 3.0, "longitude": 4.0, "label": "work"}
    assert await pool.fetchval("SELECT count(*) FROM user_addresses") == 1


async def test_listings_near_home_come_by_distance_with_seller_and_device(
    api: Api, pool: Pool
) -> None:
    buyer, host = await add_user(pool), await add_user(pool, "host")
    device_id = await add_device(pool, host)
    latitude, longitude = BANGALORE
    far = await add_listing(pool, host, place=(latitude + 0.03, longitude))
    near = await add_listing(pool, host, place=(latitude + 0.01, longitude), device_id=device_id)
    await add_listing(pool, host, place=(latitude + 0.05, longitude))
    paused = await add_listing(pool, host, place=BANGALORE)
    await api.call("DELETE", f"/api/v1/marketplace/listings/{paused}", host)
    await api.call("PUT", UPDATE, buyer, json={"lat": latitude, "lon": longitude})

    items = (await api.get(NEARBY, buyer, radius_km=5))["items"]
    assert [item["id"] for item in items] == [str(near), str(far)]
    assert [item["distance_km"] for item in items] == [1.112, 3.336]
    assert items[0]["seller"] == {"id": str(host.id), "full_name": "Host"}
    assert items[0]["device"] == {"id": str(device_id), "name": "Roof", "kind": "inverter"}
    assert items[1]["device"] is None


async def test_equally_near_listings_keep_their_order_from_part_to_part(
    api: Api, pool: Pool
) -> None:
    buyer, host = await add_user(pool), await add_user(pool, "host")
    made = sorted([str(await add_listing(pool, host)) for _ in range(7)])
    latitude, longitude = BANGALORE
    query: dict[str, Any] = {"radius_km": 1, "lat": latitude, "lon": longitude, "limit": 3}
    seen: list[str] = []
    while True:
        part = await api.get(NEARBY, buyer, **query)
        seen += [item["id"] for item in part["items"]]
        if part["next_cursor"] is None:
            break
        query["cursor"] = part["next_cursor"]
    assert seen == made


async def test_amount_and_price_narrow_the_search(api: Api, pool: Pool) -> None:
    buyer, host = await add_user(pool), await add_user(pool, "host")
    cheap = str(await add_listing(pool, host, kwh=1, price_per_kwh=3))
    large = str(await add_listing(pool, host, kwh=50, price_per_kwh=9))
    here = {"radius_km": 1, "lat": BANGALORE[0], "lon": BANGALORE[1]}

    async def ids(**query: str) -> list[str]:
        return [item["id"] for item in (await api.get(NEARBY, buyer, **here, **query))["items"]]

    assert await ids(min_kwh="2") == [large]
    assert await ids(max_price="3.0000") == [cheap]


async def test_a_place_a_hair_off_the_equator_does_not_break_the_search(
    api: Api, pool: Pool
) -> None:
    buyer = await add_user(pool)
    for hair in (5e-324, 1e-170, -1e-30):
        address = await api.call("PUT", UPDATE, buyer, json={"lat": hair, "lon": -hair})
        assert address.json()["data"]["latitude"] == 0
        await add_listing(pool, await add_user(pool, "host"), place=(0, 0))
        assert (await api.get(NEARBY, buyer, radius_km=1))["items"]


async def test_a_circle_that_is_none_is_refused(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool)
    for field, query in [
        ("radius_km", {}),
        ("radius_km", {"radius_km": 0}),
        ("radius_km", {"radius_km": 100.1}),
        ("radius_km", {"radius_km": "nan"}),
        ("lat", {"radius_km": 5, "lat": "inf", "lon": 1}),
        ("lon", {"radius_km": 5, "lat": 1, "lon": 180.5}),
        ("lon", {"radius_km": 5, "lat": 1}),
    ]:
        response = await api.call("GET", NEARBY, buyer, params=query)
        assert fields_of(response) == [field], query
