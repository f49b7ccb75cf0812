"""Whatever commits is published once and in order, whoever dies."""

import asyncio
from collections import defaultdict
from collections.abc import Collection
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from core.events import LISTINGS, EventType
from core.settings import RedisSettings
from db import outbox
from db.pool import Pool
from realtime.bus import Bus, open_bus
from tests.realtime.announcing import announce, listing_event, wallet_event
from tests.realtime.client import open_client
from tests.realtime.conftest import Parts
from tests.realtime.histories import history
from tests.support.people import add_listing, add_user
from tests.support.shortages import lacking
from tests.support.waiting import eventually

_NEXT_VERSION = """
UPDATE energy_listings SET version = version + 1 WHERE id = $1 RETURNING version
"""
_KILL_RELAYS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE application_name = 'solarhub-relay' AND datname = current_database()
"""


async def change_often(pool: Pool, listing_ids: list[UUID], times: int) -> None:
    """Change listings, each change and its event in a transaction; every fifth is taken back."""
    for n in range(times):
        async with pool.acquire() as conn:
            change = conn.transaction()
            await change.start()
            listing_id = listing_ids[n % len(listing_ids)]
            version = await conn.fetchval(_NEXT_VERSION, listing_id)
            await outbox.add(conn, [listing_event(listing_id, version, EventType.LISTING_SOLD)])
            await (change.rollback() if n % 5 == 4 else change.commit())


async def versions(pool: Pool, settings: RedisSettings) -> dict[str, list[int]]:
    """Return the published versions of each listing; those that committed are 2, 3, 4, …"""
    told = defaultdict(list)
    for event in await history(settings, LISTINGS):
        told[event["data"]["id"]].append(event["data"]["version"])
    return told


async def expect_each_once(pool: Pool, settings: RedisSettings, listing_ids: list[UUID]) -> None:
    async def outbox_is_empty() -> bool:
        return not await pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")

    await eventually(outbox_is_empty)
    told = await versions(pool, settings)
    for listing_id in listing_ids:
        query = "SELECT version FROM energy_listings WHERE id = $1"
        newest = await pool.fetchval(query, listing_id)
        assert told[str(listing_id)] == list(range(2, newest + 1))


async def test_events_are_published_once_and_in_the_order_of_commits(
    parts: Parts, pool: Pool
) -> None:
    seller = await add_user(pool, "host")
    listing_ids = [await add_listing(pool, seller) for _ in range(3)]
    async with parts.relay():
        await asyncio.gather(*(change_often(pool, listing_ids, 60) for _ in range(5)))
        await expect_each_once(pool, parts.redis, listing_ids)


async def test_relays_that_are_killed_lose_nothing_and_repeat_nothing(
    parts: Parts, pool: Pool
) -> None:
    seller = await add_user(pool, "host")
    listing_ids = [await add_listing(pool, seller) for _ in range(3)]
    async with asyncio.TaskGroup() as tasks:
        changing = [tasks.create_task(change_often(pool, listing_ids, 80)) for _ in range(4)]
        while not all(task.done() for task in changing):
            async with parts.relay():
                await pool.fetch(_KILL_RELAYS)
    async with parts.relay(), parts.relay():
        await expect_each_once(pool, parts.redis, listing_ids)


async def test_what_was_published_but_not_deleted_is_not_published_again(
    parts: Parts, pool: Pool
) -> None:
    listing_id = uuid4()
    await announce(pool, *(listing_event(listing_id, n) for n in range(5)))
    async with open_bus(parts.redis) as bus, pool.acquire() as conn:
        # A relay that dies between publishing and deleting.
        await bus.publish(await bus.claim(), await outbox.lock_batch(conn, 3))
    async with parts.relay():
        await announce(pool, listing_event(listing_id, 5))

        async def all_published() -> bool:
            return len(await history(parts.redis, LISTINGS)) >= 6

        await eventually(all_published)
    told = [event["data"]["version"] for event in await history(parts.redis, LISTINGS)]
    assert told == [0, 1, 2, 3, 4, 5]


async def test_a_claim_voids_what_an_earlier_relay_still_has_under_way(
    parts: Parts, pool: Pool
) -> None:
    await announce(pool, listing_event(uuid4()))
    async with open_bus(parts.redis) as bus, pool.acquire() as conn:
        batch = await outbox.lock_batch(conn, 1)
        earlier = await bus.claim()
        later = await bus.claim()
        assert await bus.publish(earlier, batch) is None
        published = await bus.publish(later, batch)
    assert published is not None
    assert (len(published.ids), published.left) == (1, frozenset())
    assert len(await history(parts.redis, LISTINGS)) == 1


async def test_one_relay_is_active_and_another_takes_over_within_2_s(
    parts: Parts, pool: Pool
) -> None:
    registries = [CollectorRegistry(), CollectorRegistry()]

    def active() -> list[float | None]:
        return [registry.get_sample_value("solarhub_relay_active") for registry in registries]

    async with parts.relay(registries[0]) as first, parts.relay(registries[1]):
        assert active() == [1, 0]
        first.cancel()
        await eventually(lambda: active() == [0, 1], within_s=2)
        await announce(pool, listing_event(uuid4()))

        async def published() -> bool:
            return len(await history(parts.redis, LISTINGS)) == 1

        await eventually(published)


async def test_events_wait_in_the_outbox_while_redis_does_not_answer(
    parts: Parts, pool: Pool, feed: str
) -> None:
    listing_id = uuid4()
    async with open_client(feed) as client, Redis.from_url(parts.redis.redis_url) as redis:
        await client.subscribe("listings")
        await redis.client_pause(2500)  # longer than a publish waits, shorter than deafness
        for version in range(3):
            await announce(pool, listing_event(listing_id, version, EventType.LISTING_SOLD))
        assert await pool.fetchval("SELECT count(*) FROM outbox") == 3
        assert [e["data"]["version"] for e in await client.events(3)] == [0, 1, 2]
        assert await client.quiet()
    assert len(await history(parts.redis, LISTINGS)) == 3


async def test_the_relay_measures_the_outbox(parts: Parts, pool: Pool) -> None:
    registry = CollectorRegistry()
    async with parts.relay(registry), Redis.from_url(parts.redis.redis_url) as redis:
        await redis.client_pause(2500)
        await announce(pool, *(listing_event(uuid4()) for _ in range(4)))
        await eventually(lambda: registry.get_sample_value("solarhub_outbox_depth") == 4)
        await eventually(lambda: registry.get_sample_value("solarhub_outbox_depth") == 0)
        assert registry.get_sample_value("solarhub_events_published_total") == 4


async def test_a_relay_on_a_full_disk_publishes_each_event_once_when_there_is_room(
    parts: Parts, pool: Pool
) -> None:
    seller = await add_user(pool, "host")
    listing_ids = [await add_listing(pool, seller) for _ in range(2)]

    async def published() -> bool:
        return len(await history(parts.redis, LISTINGS)) == 4

    async with parts.relay():
        async with lacking(pool, "outbox", change="DELETE"):
            await change_often(pool, listing_ids, 5)
            await eventually(published)
        await change_often(pool, listing_ids, 5)
        await expect_each_once(pool, parts.redis, listing_ids)


def history_key(channel: str) -> str:
    return f"solarhub:feed:history:{channel}"


async def test_a_channel_that_takes_no_events_begins_anew_and_whoever_listens_reloads(
    parts: Parts, pool: Pool, feed: str
) -> None:
    """Whatever stands where its history belongs."""
    listing_id, other = uuid4(), await add_user(pool)
    async with open_client(feed) as client, Redis.from_url(parts.redis.redis_url) as redis:
        at = (await client.subscribe(f"listing:{listing_id}"))["position"]
        await redis.set(history_key(f"listing:{listing_id}"), "in the way")
        versions = [listing_event(listing_id, n, EventType.LISTING_SOLD) for n in range(200)]
        await announce(pool, *versions, wallet_event(other.id, "1.00"))

        async def outbox_is_empty() -> bool:
            return not await pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")

        await eventually(outbox_is_empty)
        assert await client.close_code() is not None
    assert await pool.fetchval("SELECT count(*) FROM failed_items") == 0
    told = await history(parts.redis, f"listing:{listing_id}")
    assert [event["data"]["version"] for event in told] == list(range(200))
    assert len(await history(parts.redis, f"user:{other.id}")) == 1
    async with open_client(feed) as client:
        resumed = await client.subscribe(f"listing:{listing_id}", position=at)
        assert resumed["recovered"] is False


async def test_events_that_are_refused_again_and_again_are_set_aside_and_stop_no_other(
    parts: Parts, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned, good = uuid4(), await add_user(pool)
    key, reset = history_key(f"listing:{poisoned}"), Bus.reset
    registry = CollectorRegistry()
    async with Redis.from_url(parts.redis.redis_url) as redis:

        async def reset_in_vain(self: Bus, channels: Collection[str]) -> None:
            await reset(self, channels)
            await redis.set(key, "in the way")

        monkeypatch.setattr(Bus, "reset", reset_in_vain)
        await redis.set(key, "in the way")
        await announce(
            pool,
            *(listing_event(poisoned, n) for n in range(150)),
            *(wallet_event(good.id, f"{n}.00") for n in range(300)),
        )
        async with parts.relay(registry):

            async def outbox_is_empty() -> bool:
                return not await pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")

            await eventually(outbox_is_empty)
    told = await history(parts.redis, f"user:{good.id}")
    assert [event["data"]["balance"] for event in told] == [f"{n}.00" for n in range(300)]
    shown = await pool.fetch(
        "SELECT queue, error, tries, data FROM failed_items ORDER BY item::int"
    )
    assert [row["data"]["data"]["version"] for row in shown] == list(range(150))
    assert {(row["queue"], row["tries"]) for row in shown} == {("events", 3)}
    assert shown[0]["error"].startswith("WRONGTYPE")
    assert shown[0]["data"]["channels"] == ["listings", f"listing:{poisoned}"]
    assert registry.get_sample_value("solarhub_events_set_aside_total") == 150


async def test_what_is_redis_own_fault_sets_nothing_aside(parts: Parts, pool: Pool) -> None:
    async with Redis.from_url(parts.redis.redis_url) as redis:
        await redis.config_set("maxmemory", 1)
        try:
            registry = CollectorRegistry()
            async with parts.relay(registry):
                await announce(pool, listing_event(uuid4()))

                def tried_often() -> bool:
                    return (registry.get_sample_value("solarhub_relay_retries_total") or 0) >= 4

                await eventually(tried_often)
                assert await pool.fetchval("SELECT count(*) FROM failed_items") == 0
                await redis.config_set("maxmemory", 0)

                async def published() -> bool:
                    return len(await history(parts.redis, LISTINGS)) == 1

                await eventually(published)
        finally:
            await redis.config_set("maxmemory", 0)
