"""`listings:near` tells what happens inside a circle."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from core.events import LISTINGS, Event, EventType, listing_channel
from db.pool import Pool
from tests.realtime.announcing import announce
from tests.realtime.client import open_client

HOME = {"latitude": 12.9716, "longitude": 77.5946}
NEXT_DOOR = (12.9750, 77.5990)
ACROSS_TOWN = (13.0500, 77.5946)
FAR_AWAY = (28.6139, 77.2090)


def sold_at(place: tuple[float, float]) -> tuple[UUID, Event]:
    listing_id = uuid4()
    data = {"id": str(listing_id), "latitude": place[0], "longitude": place[1]}
    channels = (LISTINGS, listing_channel(listing_id))
    return listing_id, Event(EventType.LISTING_SOLD, channels, data)


async def test_only_what_happens_inside_the_circle_is_told(feed: str, pool: Pool) -> None:
    (near, first), (_, second), (town, third) = map(sold_at, (NEXT_DOOR, FAR_AWAY, ACROSS_TOWN))
    async with open_client(feed) as small, open_client(feed) as large:
        subscribed = await small.subscribe("listings:near", **HOME, radius_km=2)
        assert subscribed["channel"] == "listings:near"
        await large.subscribe("listings:near", **HOME, radius_km=20)
        await announce(pool, first, second, third)
        told = await small.event()
        assert (told["channel"], told["data"]["id"]) == ("listings:near", str(near))
        assert [e["data"]["id"] for e in await large.events(2)] == [str(near), str(town)]
        assert await small.quiet()
        assert await large.quiet()


async def test_what_was_missed_inside_the_circle_follows(feed: str, pool: Pool) -> None:
    (_, before), (near, first), (_, second) = map(sold_at, (NEXT_DOOR, NEXT_DOOR, FAR_AWAY))
    async with open_client(feed) as client:
        await client.subscribe("listings:near", **HOME, radius_km=2)
        await announce(pool, before)
        position = (await client.event())["position"]
    await announce(pool, first, second)
    async with open_client(feed) as client:
        subscribed = await client.subscribe("listings:near", **HOME, radius_km=2, position=position)
        assert subscribed["recovered"] is True
        assert (await client.event())["data"]["id"] == str(near)
        assert await client.quiet()


async def test_asking_again_moves_the_circle(feed: str, pool: Pool) -> None:
    (_, here), (there, elsewhere) = map(sold_at, (NEXT_DOOR, FAR_AWAY))
    async with open_client(feed) as client:
        await client.subscribe("listings:near", **HOME, radius_km=2)
        delhi = {"latitude": 28.6, "longitude": 77.2}
        await client.subscribe("listings:near", **delhi, radius_km=10)
        await announce(pool, here, elsewhere)
        assert (await client.event())["data"]["id"] == str(there)
        await client.say(op="unsubscribe", channel="listings:near")
        await announce(pool, elsewhere)
        assert await client.quiet()


@pytest.mark.parametrize(
    "circle",
    [
        {},
        {**HOME, "radius_km": 0},
        {**HOME, "radius_km": 101},
        {**HOME, "radius_km": "5"},
        {**HOME, "radius_km": True},
        {**HOME, "radius_km": float("nan")},
        {"latitude": 91, "longitude": 0, "radius_km": 5},
        {"latitude": 0, "longitude": 181, "radius_km": 5},
    ],
)
async def test_a_circle_that_is_none_is_a_bad_request(feed: str, circle: dict[str, Any]) -> None:
    async with open_client(feed) as client:
        await client.say(op="subscribe", channel="listings:near", **circle)
        assert (await client.hear_op("error"))["code"] == "bad_request"
        assert await client.quiet()
