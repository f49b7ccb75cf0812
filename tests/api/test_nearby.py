"""Nearby listings, users and devices: found by distance, shown rounded."""

from typing import Any

import pytest

from db.pool import Pool
from tests.api.conftest import Api, code_of, fields_of
from tests.support.people import BANGALORE, Person, add_device, add_listing, add_user

NEARBY = "/api/v1/location/nearby-listings"
USERS = "/api/v1/location/nearby-users"
DEVICES = "/api/v1/location/nearby-devices"
UPDATE = "/api/v1/location/update"


@pytest.mark.parametrize("path", [NEARBY, USERS, DEVICES])
async def test_without_any_place_the_search_is_refused(api: Api, pool: Pool, path: str) -> None:
    buyer = await add_user(pool)
    response = await api.call("GET", path, buyer, params={"radius_km": 5})
    assert (response.status_code, code_of(response)) == (409, "no_location")


async def test_an_update_moves_the_default_address(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool)
    first = (await api.call("PUT", UPDATE, buyer, json={"lat": 1, "lon": 2})).json()["data"]
    assert (first["label"], first["is_default"]) == ("home", True)
    body = {"latitude": 3, "longitude": 4, "label": "work"}
    moved = (await api.call("PUT", UPDATE, buyer, json=body)).json()["data"]
    assert moved == first | {"latitude": 3.0, "longitude": 4.0, "label": "work"}
    assert await pool.fetchval("SELECT count(*) FROM user_addresses") == 1


async def test_nearby_listings_are_sorted_by_distance_with_seller_and_device(
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


async def test_names_with_special_characters_are_shown_unchanged(api: Api, pool: Pool) -> None:
    buyer, host = await add_user(pool), await add_user(pool, "host")
    name = '"O\\Brien", \t{"id": null} é🌞'
    device_id = await add_device(pool, host)
    await pool.execute("UPDATE users SET full_name = $2 WHERE id = $1", host.id, name)
    await pool.execute("UPDATE devices SET name = $2 WHERE id = $1", device_id, name)
    await add_listing(pool, host, device_id=device_id)
    [item] = (await api.get(NEARBY, buyer, lat=BANGALORE[0], lon=BANGALORE[1], radius_km=1))[
        "items"
    ]
    assert (item["seller"]["full_name"], item["device"]["name"]) == (name, name)


async def test_a_nearby_listing_has_the_same_fields_as_the_listing_itself(
    api: Api, pool: Pool
) -> None:
    buyer, host = await add_user(pool), await add_user(pool, "host")
    device_id = await add_device(pool, host)
    listing_id = await add_listing(pool, host, device_id=device_id, place=(-0.00001, 179.99999))
    await pool.execute(
        "UPDATE energy_listings SET pricing = 'dynamic', price_floor = 1, price_cap = 9,"
        " reserve_soc_pct = 0.1"
    )
    whole = await api.get(f"/api/v1/marketplace/listings/{listing_id}", buyer)
    [listed] = (await api.get("/api/v1/marketplace/listings", buyer))["items"]
    [near] = (await api.get(NEARBY, buyer, lat=0, lon=-180, radius_km=1))["items"]
    assert listed == whole
    assert near.items() >= whole.items()


async def test_equally_near_listings_keep_their_order_from_page_to_page(
    api: Api, pool: Pool
) -> None:
    buyer, host = await add_user(pool), await add_user(pool, "host")
    added = sorted([str(await add_listing(pool, host)) for _ in range(7)])
    latitude, longitude = BANGALORE
    query: dict[str, Any] = {"radius_km": 1, "lat": latitude, "lon": longitude, "limit": 3}
    seen: list[str] = []
    while True:
        page = await api.get(NEARBY, buyer, **query)
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == added


async def test_a_listing_with_nothing_left_is_not_near_until_energy_comes(
    api: Api, pool: Pool
) -> None:
    buyer, host = await add_user(pool), await add_user(pool, "host")
    device_id = await add_device(pool, host)
    listing_id = await add_listing(pool, host, device_id=device_id)
    await pool.execute("UPDATE energy_listings SET stated_kwh = 0, auto_adjust = true")
    listing = await api.get(f"/api/v1/marketplace/listings/{listing_id}", buyer)
    assert (listing["status"], listing["energy_amount_kwh"]) == ("active", "0.000")
    assert (await api.get(NEARBY, buyer, **HERE))["items"] == []
    assert (await api.get(NEARBY, buyer, **HERE, min_kwh="0"))["items"] == []
    await pool.execute("UPDATE energy_listings SET measured_wh = 1")
    [near] = (await api.get(NEARBY, buyer, **HERE))["items"]
    assert (near["id"], near["energy_amount_kwh"]) == (str(listing_id), "0.001")


@pytest.mark.parametrize("path", [NEARBY, USERS, DEVICES])
async def test_the_place_of_a_query_may_be_spelled_either_way(
    api: Api, pool: Pool, path: str
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool)
    await settle(pool, host, BANGALORE)
    await add_listing(pool, host)
    await add_device(pool, host)
    latitude, longitude = BANGALORE
    short = await api.get(path, buyer, radius_km=5, lat=latitude, lon=longitude)
    assert len(short["items"]) == 1
    for place in (
        {"latitude": latitude, "longitude": longitude},
        {"lat": latitude, "longitude": longitude},
    ):
        assert await api.get(path, buyer, radius_km=5, **place) == short


async def test_nearby_listings_can_be_filtered_by_amount_and_price(api: Api, pool: Pool) -> None:
    buyer, host = await add_user(pool), await add_user(pool, "host")
    cheap = str(await add_listing(pool, host, kwh=1, price_per_kwh=3))
    large = str(await add_listing(pool, host, kwh=50, price_per_kwh=9))
    here = {"radius_km": 1, "lat": BANGALORE[0], "lon": BANGALORE[1]}

    async def ids(**query: str) -> list[str]:
        return [item["id"] for item in (await api.get(NEARBY, buyer, **here, **query))["items"]]

    assert await ids(min_kwh="2") == [large]
    assert await ids(max_price="3.0000") == [cheap]


async def test_coordinates_close_to_zero_do_not_break_the_search(api: Api, pool: Pool) -> None:
    buyer = await add_user(pool)
    for tiny in (5e-324, 1e-170, -1e-30):
        address = await api.call("PUT", UPDATE, buyer, json={"lat": tiny, "lon": -tiny})
        assert address.json()["data"]["latitude"] == 0
        await add_listing(pool, await add_user(pool, "host"), place=(0, 0))
        assert (await api.get(NEARBY, buyer, radius_km=1))["items"]


@pytest.mark.parametrize("path", [NEARBY, USERS, DEVICES])
async def test_an_invalid_circle_is_refused(api: Api, pool: Pool, path: str) -> None:
    buyer = await add_user(pool)
    for field, query in [
        ("radius_km", {}),
        ("radius_km", {"radius_km": 0}),
        ("radius_km", {"radius_km": 100.1}),
        ("radius_km", {"radius_km": "nan"}),
        ("lat", {"radius_km": 5, "lat": "inf", "lon": 1}),
        ("lon", {"radius_km": 5, "lat": 1, "lon": 180.5}),
        ("lon", {"radius_km": 5, "lat": 1}),
        ("lon", {"radius_km": 5, "latitude": 1}),
        ("latitude", {"radius_km": 5, "latitude": 90.1, "lon": 1}),
        ("longitude", {"radius_km": 5, "lat": 1, "longitude": "east"}),
        ("latitude", {"radius_km": 5, "lat": 1, "latitude": 1, "lon": 1}),
        ("longitude", {"radius_km": 5, "lat": 1, "lon": 1, "longitude": 1}),
    ]:
        response = await api.call("GET", path, buyer, params=query)
        assert fields_of(response) == [field], query


HERE = {"radius_km": 10, "lat": BANGALORE[0], "lon": BANGALORE[1]}


async def settle(pool: Pool, person: Person, place: tuple[float, float]) -> None:
    await pool.execute(
        "INSERT INTO user_addresses (user_id, latitude, longitude, is_default)"
        " VALUES ($1, $2, $3, true)",
        person.id,
        *place,
    )


async def test_nearby_users_are_sorted_by_distance_to_their_rounded_places(
    api: Api, pool: Pool
) -> None:
    buyer, far, near = await add_user(pool), await add_user(pool, "host"), await add_user(pool)
    await settle(pool, buyer, BANGALORE)
    await settle(pool, far, (12.9949, 77.5951))
    await settle(pool, near, (12.9651, 77.5951))
    await settle(pool, await add_user(pool), (13.2, 77.6))
    items = (await api.get(USERS, buyer, radius_km=10))["items"]
    assert items == [
        {
            "id": str(near.id), "full_name": "Buyer", "role": "buyer",
            "latitude": 12.97, "longitude": 77.6, "distance_km": 0.612,
        },
        {
            "id": str(far.id), "full_name": "Host", "role": "host",
            "latitude": 12.99, "longitude": 77.6, "distance_km": 2.128,
        },
    ]  # fmt: skip
    hosts = (await api.get(USERS, buyer, radius_km=10, role="host"))["items"]
    assert [item["id"] for item in hosts] == [str(far.id)]


async def test_no_query_can_distinguish_homes_with_the_same_rounded_place(
    api: Api, pool: Pool
) -> None:
    buyer, host, other = [await add_user(pool, role) for role in ("buyer", "host", "host")]
    for neighbour, place in ((host, (12.9651, 77.5851)), (other, (12.9749, 77.5949))):
        await settle(pool, neighbour, place)
        await add_device(pool, neighbour, place=place)
    for path in (USERS, DEVICES):
        for lat, lon in ((12.97, 77.59), (12.9651, 77.5851), (12.9, 77.5)):
            # One circle just takes in the rounded place of both, the other just does not.
            first, second = (await api.get(path, buyer, radius_km=50, lat=lat, lon=lon))["items"]
            places = [(item["latitude"], item["longitude"]) for item in (first, second)]
            assert places == [(12.97, 77.59)] * 2
            assert first["distance_km"] == second["distance_km"]
            for radius_km in (first["distance_km"] + 0.001, first["distance_km"] - 0.001):
                if radius_km > 0:
                    found = await api.get(path, buyer, radius_km=radius_km, lat=lat, lon=lon)
                    assert len(found["items"]) in (0, 2)


async def test_deactivated_users_administrators_and_the_caller_are_not_listed(
    api: Api, pool: Pool
) -> None:
    buyer, deactivated, admin = [await add_user(pool, role) for role in ("buyer", "host", "admin")]
    for person in (buyer, deactivated, admin):
        await settle(pool, person, BANGALORE)
    await add_device(pool, deactivated)
    await pool.execute("UPDATE users SET is_active = false WHERE id = $1", deactivated.id)
    removed = await add_device(pool, await add_user(pool, "host"))
    await pool.execute("UPDATE devices SET deleted_at = now() WHERE id = $1", removed)
    assert (await api.get(USERS, buyer, **HERE))["items"] == []
    assert (await api.get(DEVICES, buyer, **HERE))["items"] == []


async def test_only_the_owner_sees_the_exact_place_of_a_device_and_nobody_its_secrets(
    api: Api, pool: Pool
) -> None:
    host, other = await add_user(pool, "host"), await add_user(pool, "host")
    device_id = str(await add_device(pool, host, place=(12.9751, 77.5951)))
    shown = {
        "id": device_id, "name": "Roof", "kind": "inverter", "capacity_w": 5000.0,
        "status": "pending", "latitude": 12.98, "longitude": 77.6, "distance_km": 1.102,
        "funding_target": None, "revenue_share": None, "funded": "0.00",
        "owner": {"id": str(host.id), "full_name": "Host"},
    }  # fmt: skip
    assert (await api.get(DEVICES, other, **HERE))["items"] == [shown]
    own = {"latitude": 12.9751, "longitude": 77.5951, "distance_km": 0.393}
    assert (await api.get(DEVICES, host, **HERE))["items"] == [shown | own]


async def test_nearby_devices_can_be_filtered_by_kind_and_status(api: Api, pool: Pool) -> None:
    host, other = await add_user(pool, "host"), await add_user(pool, "host")
    online, meter = [str(await add_device(pool, host)) for _ in range(2)]
    await pool.execute("UPDATE device_states SET status = 'online' WHERE device_id = $1", online)
    await pool.execute("UPDATE devices SET kind = 'meter' WHERE id = $1", meter)
    for caller in (host, other):
        for query, device_id in (({"status": "online"}, online), ({"kind": "meter"}, meter)):
            items = (await api.get(DEVICES, caller, **HERE, **query))["items"]
            assert [item["id"] for item in items] == [device_id]


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        (USERS, "role", "admin"),
        (DEVICES, "kind", "toaster"),
        (DEVICES, "status", "gone"),
        (USERS, "cursor", "x" * 501),
        (DEVICES, "cursor", "WyJhIl0"),
    ],
)
async def test_an_invalid_filter_or_cursor_is_refused(
    api: Api, pool: Pool, path: str, field: str, value: str
) -> None:
    response = await api.call(
        "GET", path, await add_user(pool), params={"radius_km": 5, "lat": 1, "lon": 1, field: value}
    )
    assert fields_of(response) == [field]
