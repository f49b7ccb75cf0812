"""Pages of the list of listings, and filters."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from db.pool import Pool
from tests.api.conftest import Api
from tests.support.people import Person, add_device, add_listing, add_user

LISTINGS = "/api/v1/marketplace/listings"
NOW = datetime.now(UTC)


async def whole(api: Api, person: Person, **query: Any) -> list[Any]:
    """Return the items of all pages of a list."""
    seen: list[Any] = []
    while True:
        part = await api.get(LISTINGS, person, limit=3, **query)
        seen += part["items"]
        if part["next_cursor"] is None:
            return seen
        query["cursor"] = part["next_cursor"]


async def test_listings_are_listed_newest_or_cheapest_first_without_gaps(
    api: Api, pool: Pool
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool)
    made = [str(await add_listing(pool, host, price_per_kwh=3 + n % 4)) for n in range(10)]
    assert [listing["id"] for listing in await whole(api, buyer)] == made[::-1]
    by_price = await whole(api, buyer, sort="price_per_kwh")
    keys = [(Decimal(listing["price_per_kwh"]), listing["id"]) for listing in by_price]
    assert keys == sorted(keys)
    assert len(keys) == 10


@pytest.mark.parametrize("sort", ["created_at", "price_per_kwh"])
@pytest.mark.parametrize("selected", [{}, {"status": "active"}, {"seller_id": None}])
async def test_listings_added_between_pages_neither_repeat_nor_hide_others(
    api: Api, pool: Pool, sort: str, selected: dict[str, Any]
) -> None:
    host, buyer = await add_user(pool, "host"), await add_user(pool)
    query: dict[str, Any] = {"limit": 3, "sort": sort}
    query |= {name: value or str(host.id) for name, value in selected.items()}
    there = {str(await add_listing(pool, host, price_per_kwh=3 + n % 4)) for n in range(11)}
    seen: list[str] = []
    while True:
        part = await api.get(LISTINGS, buyer, **query)
        seen += [item["id"] for item in part["items"]]
        if part["next_cursor"] is None:
            break
        query["cursor"] = part["next_cursor"]
        for price_per_kwh in (1, 4, 9):
            await add_listing(pool, host, price_per_kwh=price_per_kwh)
        if len(seen) > 40:
            break  # More expensive listings are added as fast as they are read.
    assert len(seen) == len(set(seen))
    assert there <= set(seen)


async def test_listings_are_filtered(api: Api, pool: Pool) -> None:
    host, other = await add_user(pool, "host"), await add_user(pool, "host")
    device_id = await add_device(pool, host)
    cheap = str(await add_listing(pool, host, kwh=1, price_per_kwh=3))
    large = str(await add_listing(pool, other, kwh=100, price_per_kwh=9))
    follows = str(await add_listing(pool, host, kwh=10, device_id=device_id))
    await api.call("DELETE", f"{LISTINGS}/{large}", other)

    async def ids(**query: Any) -> list[str]:
        return [listing["id"] for listing in await whole(api, host, **query)]

    assert await ids(status="cancelled") == [large]
    assert await ids(seller_id=other.id) == [large]
    assert await ids(device_id=device_id) == [follows]
    assert await ids(min_kwh="10.001") == [large]
    assert await ids(max_price="3") == [cheap]
    assert await ids(status="active", sort="price_per_kwh") == [cheap, follows]
