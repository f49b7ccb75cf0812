"""A client that was away gets exactly what it missed, or is told that it must reload."""

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from core.events import EventType
from core.settings import RedisSettings
from db.pool import Pool
from solarhub import embedded
from tests.realtime.announcing import announce, listing_event, wallet_event
from tests.realtime.client import ANYBODY, Client, open_client
from tests.realtime.conftest import Parts
from tests.realtime.histories import history
from tests.support.waiting import eventually


async def announce_versions(pool: Pool, listing_id: UUID, versions: range) -> None:
    """Changes that are never merged."""
    sold = EventType.LISTING_SOLD
    await announce(pool, *(listing_event(listing_id, version, sold) for version in versions))


async def hear_versions(client: Client, count: int) -> list[int]:
    return [event["data"]["version"] for event in await client.events(count)]


async def position_after(feed: str, pool: Pool, listing_id: UUID) -> str:
    """Return the position of a client that received version 0 and disconnected."""
    async with open_client(feed) as client:
        await client.subscribe("listings")
        await announce_versions(pool, listing_id, range(1))
        position: str = (await client.event())["position"]
        return position


async def test_a_first_subscription_begins_now(feed: str, pool: Pool) -> None:
    listing_id = uuid4()
    await position_after(feed, pool, listing_id)
    async with open_client(feed) as client:
        subscribed = await client.subscribe("listings")
        assert subscribed["recovered"] is None
        await announce_versions(pool, listing_id, range(7, 8))
        event = await client.event()
        assert event["data"]["version"] == 7
        assert event["position"] != subscribed["position"]


async def test_what_was_missed_follows_once_and_in_order_and_then_what_is_new(
    feed: str, pool: Pool
) -> None:
    listing_id = uuid4()
    position = await position_after(feed, pool, listing_id)
    await announce_versions(pool, listing_id, range(1, 700))
    async with open_client(feed) as client:
        announcing = asyncio.create_task(announce_versions(pool, listing_id, range(700, 900)))
        subscribed = await client.subscribe("listings", position=position)
        assert subscribed["recovered"] is True
        assert subscribed["position"] == position
        assert await hear_versions(client, 899) == list(range(1, 900))
        await announcing
        assert await client.quiet()


async def test_a_client_that_missed_nothing_is_told_so(feed: str, pool: Pool) -> None:
    position = await position_after(feed, pool, uuid4())
    async with open_client(feed) as client:
        subscribed = await client.subscribe("listings", position=position)
        assert subscribed["recovered"] is True
        again = await client.subscribe("listings", position=subscribed["position"])
        assert again["recovered"] is True
        assert await client.quiet()


async def test_the_position_of_a_subscription_can_be_resumed_from(feed: str, pool: Pool) -> None:
    listing_id = uuid4()
    async with open_client(feed) as client:
        position = (await client.subscribe(f"listing:{listing_id}"))["position"]
    await announce_versions(pool, listing_id, range(3))
    async with open_client(feed) as client:
        subscribed = await client.subscribe(f"listing:{listing_id}", position=position)
        assert subscribed["recovered"] is True
        assert await hear_versions(client, 3) == [0, 1, 2]


async def test_subscribing_again_with_a_position_resumes_on_the_same_connection(
    feed: str, pool: Pool
) -> None:
    listing_id = uuid4()
    async with open_client(feed) as client:
        await client.subscribe("listings")
        await announce_versions(pool, listing_id, range(3))
        first = await client.event()
        assert await hear_versions(client, 2) == [1, 2]
        await client.subscribe("listings", position=first["position"])
        assert await hear_versions(client, 2) == [1, 2]


async def test_private_events_are_resumed_too(feed: str, pool: Pool) -> None:
    async with open_client(feed) as client:
        position = (await client.subscribe("user"))["position"]
    await announce(pool, wallet_event(ANYBODY, "5.00"), wallet_event(uuid4(), "7.00"))
    async with open_client(feed) as client:
        await client.subscribe("user", position=position)
        event = await client.event()
        assert (event["channel"], event["data"]["balance"]) == ("user", "5.00")
        assert await client.quiet()


class TestWithAShortHistory:
    @pytest.fixture
    def parts(self, parts: Parts) -> Parts:
        url = parts.redis.redis_url
        return Parts(parts.database, RedisSettings(redis_url=url, history_size=10))

    @pytest.mark.parametrize(("missed", "recovered"), [(10, True), (11, False)])
    async def test_as_much_as_it_holds_can_be_missed(
        self, feed: str, parts: Parts, pool: Pool, missed: int, recovered: bool
    ) -> None:
        listing_id = uuid4()
        position = await position_after(feed, pool, listing_id)
        await announce_versions(pool, listing_id, range(1, missed + 1))

        async def all_published() -> bool:
            told = await history(parts.redis, "listings")
            return bool(told[-1]["data"]["version"] == missed)

        await eventually(all_published)
        async with open_client(feed) as client:
            subscribed = await client.subscribe("listings", position=position)
            assert subscribed["recovered"] is recovered


class TestWithAHistoryOfASecond:
    @pytest.fixture
    def parts(self, parts: Parts) -> Parts:
        settings = RedisSettings(redis_url=parts.redis.redis_url, history_ttl=timedelta(seconds=1))
        return Parts(parts.database, settings)

    async def test_what_is_forgotten_is_not_called_recovered(self, feed: str, pool: Pool) -> None:
        listing_id = uuid4()
        position = await position_after(feed, pool, listing_id)
        await announce_versions(pool, listing_id, range(1, 2))
        async with open_client(feed) as client:

            async def forgotten() -> bool:
                subscribed = await client.subscribe("listings", position=position)
                return subscribed["recovered"] is False

            await eventually(forgotten)
            # The history begins anew, and does not know what was before it.
            await announce_versions(pool, listing_id, range(2, 3))
            await client.events(1)
            subscribed = await client.subscribe("listings", position=position)
            assert subscribed["recovered"] is False


@pytest.mark.parametrize(
    "position", ["", "nonsense", "0-0-0", "ffffffff-1-1", "ffffffff-99999999999999-0"]
)
async def test_a_position_that_is_not_known_is_not_recovered(feed: str, position: str) -> None:
    async with open_client(feed) as client:
        subscribed = await client.subscribe("listings", position=position)
        assert subscribed["recovered"] is False
        assert subscribed["position"] != position
        again = await client.subscribe("listings", position=subscribed["position"])
        assert again["recovered"] is True


async def test_a_redis_that_lost_its_memory_is_noticed(
    feed: str, pool: Pool, redis_settings: RedisSettings
) -> None:
    listing_id = uuid4()
    position = await position_after(feed, pool, listing_id)
    async with open_client(feed) as client, Redis.from_url(redis_settings.redis_url) as redis:
        await client.subscribe("listings")
        await redis.flushall()
        await announce_versions(pool, listing_id, range(1, 2))
        assert await client.close_code() == 4500
    async with open_client(feed) as client:
        subscribed = await client.subscribe("listings", position=position)
        assert subscribed["recovered"] is False


async def test_a_hub_whose_connection_breaks_makes_up_for_what_it_missed(
    feed: str, pool: Pool, redis_settings: RedisSettings
) -> None:
    listing_id, count = uuid4(), 400
    async with open_client(feed) as client, Redis.from_url(redis_settings.redis_url) as redis:
        await client.subscribe("listings")
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(hear_versions(client, count))
            for version in range(count):
                await announce_versions(pool, listing_id, range(version, version + 1))
                if version % 40 == 20:
                    await redis.client_kill_filter(_type="pubsub")
        assert hearing.result() == list(range(count))


async def test_a_redis_that_restarts_with_an_old_memory_is_not_trusted(
    parts: Parts, pool: Pool, tmp_path: Path
) -> None:
    directory, listing_id = tmp_path / "valkey", uuid4()
    with embedded.valkey(directory, durable=True) as valkey:
        parts = Parts(parts.database, RedisSettings(redis_url=valkey.url))
        async with parts.relay(), parts.hub() as feed, open_client(feed) as client:
            position = await position_after(feed, pool, listing_id)
            await client.subscribe("listings")
            await asyncio.to_thread(valkey.child.stop)
            await announce_versions(pool, listing_id, range(1, 3))
            with embedded.valkey(directory, durable=True):
                assert await client.close_code() == 4500
                async with open_client(feed) as again:
                    subscribed = await again.subscribe("listings", position=position)
                    assert subscribed["recovered"] is False
