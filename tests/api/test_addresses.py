"""The addresses of a person."""

import asyncio
from typing import Any

import httpx
import pytest

from api.location.service import ADDRESSES_MAX
from db.pool import Pool
from tests.api.conftest import Api, code_of, data_of, fields_of
from tests.support.people import Person, add_user

ADDRESSES = "/api/v1/location/addresses"
UPDATE = "/api/v1/location/update"


async def add(api: Api, person: Person, **body: Any) -> Any:
    return await api.post(ADDRESSES, person, {"latitude": 12.5, "longitude": 77.5} | body)


async def remove(api: Api, person: Person, address: Any) -> httpx.Response:
    return await api.call("DELETE", f"{ADDRESSES}/{address['id']}", person)


async def defaults(api: Api, person: Person) -> list[str]:
    items = (await api.get(ADDRESSES, person))["items"]
    return [item["label"] for item in items if item["is_default"]]


@pytest.mark.parametrize("path", [ADDRESSES, UPDATE])
@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (["latitude", "longitude"], {}),
        (["longitude"], {"lat": 1}),
        (["lat"], {"lat": 90.001, "lon": 1}),
        (["latitude", "lon"], {"latitude": "north", "lon": 181}),
        (["lat"], {"latitude": 1, "lat": 1, "lon": 1}),
        (["lon"], {"lat": 1, "lon": None}),
        (["longitude"], {"lat": 1, "longitude": "nan"}),
        (["label"], {"lat": 1, "lon": 1, "label": "a\u0000b"}),
        (["label"], {"lat": 1, "lon": 1, "label": "x" * 101}),
        (["town"], {"lat": 1, "lon": 1, "town": "Bangalore"}),
    ],
)
async def test_an_invalid_place_is_refused_by_the_name_that_was_sent(
    api: Api, pool: Pool, path: str, fields: list[str], body: dict[str, Any]
) -> None:
    method = "POST" if path == ADDRESSES else "PUT"
    assert fields_of(await api.call(method, path, await add_user(pool), json=body)) == fields


async def test_the_first_address_is_the_default_one(api: Api, pool: Pool) -> None:
    person = await add_user(pool)
    home = await add(api, person)
    assert (home["label"], home["is_default"]) == ("home", True)
    shop = await add(api, person, label="shop")
    assert not shop["is_default"]
    assert (await api.get(ADDRESSES, person))["items"] == [shop, home]


async def test_a_new_default_address_replaces_the_one_before(api: Api, pool: Pool) -> None:
    person = await add_user(pool)
    await add(api, person)
    await add(api, person, label="shop", is_default=True)
    assert await defaults(api, person) == ["shop"]
    moved = await api.call("PUT", UPDATE, person, json={"lat": 1, "lon": 2})
    assert data_of(moved)["label"] == "shop"


async def test_the_newest_address_replaces_a_removed_default_one(api: Api, pool: Pool) -> None:
    person = await add_user(pool)
    home, shop, farm = [await add(api, person, label=label) for label in ("home", "shop", "farm")]
    assert data_of(await remove(api, person, home)) == home
    assert await defaults(api, person) == ["farm"]
    await remove(api, person, shop)
    assert await defaults(api, person) == ["farm"]
    await remove(api, person, farm)
    assert (await api.get(ADDRESSES, person))["items"] == []
    assert (await add(api, person))["is_default"]


async def test_a_user_can_neither_remove_nor_see_the_addresses_of_another(
    api: Api, pool: Pool
) -> None:
    person, other = await add_user(pool), await add_user(pool)
    home = await add(api, person)
    response = await remove(api, other, home)
    assert (response.status_code, code_of(response)) == (404, "not_found")
    assert (await api.get(ADDRESSES, other))["items"] == []
    assert await defaults(api, person) == ["home"]


async def test_addresses_are_listed_in_pages(api: Api, pool: Pool) -> None:
    person = await add_user(pool)
    added = [(await add(api, person))["id"] for _ in range(5)]
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = await api.get(ADDRESSES, person, **query)
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == added[::-1]


async def test_a_race_for_the_last_address_does_not_pass_the_limit(api: Api, pool: Pool) -> None:
    person = await add_user(pool)
    body = {"lat": 1, "lon": 2, "is_default": True}
    racing = [api.call("POST", ADDRESSES, person, json=body) for _ in range(ADDRESSES_MAX + 10)]
    responses = await asyncio.gather(*racing)
    refused = [response for response in responses if response.status_code != 201]
    assert {(r.status_code, code_of(r)) for r in refused} == {(409, "too_many_addresses")}
    assert len(refused) == 10
    assert await defaults(api, person) == ["home"]


async def test_a_place_may_be_spelled_either_way(api: Api, pool: Pool) -> None:
    person = await add_user(pool)
    for body in (
        {"latitude": 12.5, "longitude": 77.5},
        {"lat": 12.5, "lon": 77.5},
        {"latitude": 12.5, "lon": 77.5},
    ):
        for method, path in (("PUT", UPDATE), ("POST", ADDRESSES)):
            address = data_of(await api.call(method, path, person, json=body))
            assert (address["latitude"], address["longitude"]) == (12.5, 77.5)
