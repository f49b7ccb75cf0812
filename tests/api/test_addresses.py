"""The addresses of a person."""

import asyncio
from typing import Any

import httpx
import pytest

from api.location.addresses import ADDRESSES_MAX
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
async def test_what_is_no_place_is_refused_by_the_name_that_was_sent(
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


async def test_another_default_address_takes_the_place_of_the_one_before(
    api: Api, pool: Pool
) -> None:
    person = await add_user(pool)
    await add(api, person)
    await add(api, person, label="shop", is_default=True)
    assert await defaults(api, person) == ["shop"]
    moved = await api.call("PUT", UPDATE, person, json={"lat": 1, "lon": 2})
    assert data_of(moved)["label"] == "shop"


async def test_when_the_default_address_goes_the_newest_takes_its_place(
    api: Api, pool: Pool
) -> None:
    person = await add_user(pool)
    home, shop, farm = [await add(api, person, label=label) for label in ("home", "shop", "farm")]
    assert data_of(await remove(api, person, home)) == home
    assert await defaults(api, person) == ["farm"]
    await remove(api, person, shop)
    assert await defaults(api, person) == ["farm"]
    await remove(api, person, farm)
    assert (await api.get(ADDRESSES, person))["items"] == []
    assert (await add(api, person))["is_default"]


async def test_nobody_removes_or_sees_the_addresses_of_another(api: Api, pool: Pool) -> None:
    person, thief = await add_user(pool), await add_user(pool)
    home = await add(api, person)
    response = await remove(api, thief, home)
    assert (response.status_code, code_of(response)) == (404, "not_found")
    assert (await api.get(ADDRESSES, thief))["items"] == []
    assert await defaults(api, person) == ["home"]


async def test_addresses_come_in_parts(api: Api, pool: Pool) -> None:
    person = await add_user(pool)
    made = [(await add(api, person))["id"] for _ in range(5)]
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        part = await api.get(ADDRESSES, person, **query)
        seen += [item["id"] for item in part["items"]]
        if part["next_cursor"] is None:
            break
        query["cursor"] = part["next_cursor"]
    assert seen == made[::-1]


async def test_a_race_for_the_last_address_does_not_pass_the_limit(api: Api, pool: Pool) -> None:
    person = await add_user(pool)
    body = {"lat": 1, "lon": 2, "is_default": True}
    racing = [api.call("POST", ADDRESSES, person, json=body) for _ in range(ADDRESSES_MAX + 10)]
    responses = await asyncio.gather(*racing)
    refused = [response for response in responses if response.status_code != 201]
    assert {(r.status_code, code_of(r)) for r in refused} == {(409, "too_many_addresses")}
    assert len(refused) == 10
    assert await defaults(api, person) == ["home"]


async def test_the_documentation_knows_both_spellings_of_a_place(api: Api) -> None:
    schemas = (await api.call("GET", "/openapi.json")).json()["components"]["schemas"]
    for name in ("PositionUpdate", "NewAddress"):
        assert {"latitude", "longitude", "lat", "lon"} < set(schemas[name]["properties"])
        assert schemas[name]["allOf"][0] == {
            "oneOf": [{"required": ["latitude"]}, {"required": ["lat"]}]
        }
        assert "required" not in schemas[name]
