"""The feed on a Redis Cluster: its lanes stand on all nodes, and none of them has a hole."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

import httpx
import pytest
from redis.crc import key_slot

from core.events import LISTINGS, EventType, listing_channel
from core.settings import DatabaseSettings, RedisSettings
from db import outbox
from db.pool import Pool
from realtime.bus import SHARDS_OF_CLUSTER, open_bus
from tests.api.conftest import serving
from tests.api.test_rate_limits import codes
from tests.realtime.announcing import announce, listing_event, wallet_event
from tests.realtime.client import ANYBODY, Client, open_client
from tests.realtime.conftest import Parts
from tests.realtime.histories import history
from tests.support.clusters import NODES, Cluster, cluster
from tests.support.people import add_user
from tests.support.waiting import eventually

WELL_AGAIN_WITHIN_S = 40


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
async def redis_settings(nodes: Cluster) -> RedisSettings:
    await nodes.well()
    nodes.flush()
    return RedisSettings(redis_url=nodes.url)


async def well(feed: str) -> None:
    """Wait until the hub hears in every lane."""
    url = feed.replace("ws://", "http://").replace("/ws", "/readyz")
    async with httpx.AsyncClient(trust_env=False, verify=False) as browser:

        async def is_ready() -> bool:
            return (await browser.get(url)).status_code == 200

        await eventually(is_ready, within_s=WELL_AGAIN_WITHIN_S)


@pytest.fixture
async def feed(feed: str) -> str:
    await well(feed)
    return feed


async def slot_of(settings: RedisSettings, channel: str) -> int:
    async with open_bus(settings) as bus:
        return key_slot(bus.shard_of(channel).subscription(channel).encode())


async def channels_on_all_nodes(nodes: Cluster, settings: RedisSettings) -> list[UUID]:
    """Ids of listings, one whose channel is on each node, in the order of the nodes."""
    found: dict[int, UUID] = {}
    while len(found) < NODES:
        listing_id = uuid4()
        node = nodes.node_of(await slot_of(settings, listing_channel(listing_id)))
        found.setdefault(nodes.nodes.index(node), listing_id)
    return [found[n] for n in range(NODES)]


async def announce_versions(pool: Pool, listing_ids: list[UUID], versions: range) -> None:
    """Changes that are never merged."""
    sold = EventType.LISTING_SOLD
    for version in versions:
        await announce(pool, *(listing_event(one, version, sold) for one in listing_ids))


async def hear_versions(client: Client, count: int) -> dict[str, list[int]]:
    """Return the versions received on each channel, after `count` events on all together."""
    told: dict[str, list[int]] = {}
    for event in await client.events(count):
        told.setdefault(event["channel"], []).append(event["data"]["version"])
    return told


async def test_lanes_stand_on_all_nodes_and_cost_a_connection_each(
    feed: str, pool: Pool, nodes: Cluster
) -> None:
    async with AsyncExitStack() as stack:
        users = [await add_user(pool) for _ in range(4)]
        clients = [
            await stack.enter_async_context(open_client(feed, users[n % 4].id)) for n in range(40)
        ]
        for client in clients:
            for channel in (LISTINGS, "user", listing_channel(uuid4())):
                await client.subscribe(channel)
        heard_on = [
            [c for c in node.ask("CLIENT LIST") if c["ssub"] != "0"] for node in nodes.nodes
        ]
    assert [len(connections) for connections in heard_on] == [SHARDS_OF_CLUSTER // NODES] * NODES


async def test_what_commits_is_told_once_and_in_order_on_every_channel(
    feed: str, pool: Pool, nodes: Cluster, redis_settings: RedisSettings
) -> None:
    listing_ids = await channels_on_all_nodes(nodes, redis_settings)
    names = [listing_channel(one) for one in listing_ids]
    async with open_client(feed) as client:
        for channel in (LISTINGS, "user", *names):
            await client.subscribe(channel)
        await announce_versions(pool, listing_ids, range(50))
        told = await hear_versions(client, 2 * 50 * NODES)
        assert [told[name] for name in names] == [list(range(50))] * NODES
        assert told[LISTINGS] == [version for version in range(50) for _ in range(NODES)]
        await announce(pool, wallet_event(ANYBODY, "7.00"))
        assert (await client.event())["data"]["balance"] == "7.00"
        assert await client.quiet()


async def test_a_client_goes_on_where_it_was_in_every_lane(
    feed: str, pool: Pool, nodes: Cluster, redis_settings: RedisSettings
) -> None:
    listing_ids = await channels_on_all_nodes(nodes, redis_settings)
    positions = {}
    async with open_client(feed) as client:
        for channel in (LISTINGS, *map(listing_channel, listing_ids)):
            positions[channel] = (await client.subscribe(channel))["position"]
    await announce_versions(pool, listing_ids, range(30))
    async with open_client(feed) as client:
        for channel, position in positions.items():
            assert (await client.subscribe(channel, position=position))["recovered"] is True
        told = await hear_versions(client, 2 * 30 * NODES)
        assert [told[listing_channel(one)] for one in listing_ids] == [list(range(30))] * NODES
        assert await client.quiet()


async def test_what_was_published_but_not_deleted_is_not_published_again_in_any_lane(
    parts: Parts, pool: Pool
) -> None:
    listing_ids = [uuid4() for _ in range(20)]
    await announce(pool, *(listing_event(one, 1) for one in listing_ids))
    async with open_bus(parts.redis) as bus, pool.acquire() as conn:
        # A relay that dies between publishing and deleting.
        published = await bus.publish(await bus.claim(), await outbox.lock_batch(conn, 15))
    assert published is not None
    assert (len(published.ids), published.left) == (15, frozenset())
    async with parts.relay():

        async def all_published() -> bool:
            return not await pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")

        await eventually(all_published)
    assert Counter(e["data"]["id"] for e in await history(parts.redis, LISTINGS)) == Counter(
        map(str, listing_ids)
    )
    for one in listing_ids[13:17]:
        assert len(await history(parts.redis, listing_channel(one))) == 1


async def test_a_cluster_that_is_emptied_is_noticed(feed: str, pool: Pool, nodes: Cluster) -> None:
    async with open_client(feed) as client:
        position = (await client.subscribe(LISTINGS))["position"]
        nodes.flush()
        assert await client.close_code() == 4500
    async with open_client(feed) as client:
        subscribed = await client.subscribe(LISTINGS, position=position)
        assert subscribed["recovered"] is False
        await announce_versions(pool, [uuid4()], range(1))
        await client.event()


async def test_a_node_that_dies_takes_nobody_elses_memory_along(
    feed: str, pool: Pool, nodes: Cluster, redis_settings: RedisSettings
) -> None:
    listing_ids = await channels_on_all_nodes(nodes, redis_settings)
    names, positions = [listing_channel(one) for one in listing_ids], {}
    async with open_client(feed) as client:
        for name in names:
            positions[name] = (await client.subscribe(name))["position"]
        await asyncio.to_thread(nodes.nodes[1].stop)
        await announce_versions(pool, listing_ids, range(5))
        assert await client.close_code() == 4500
    nodes.nodes[1].start()  # not in a thread, with which it would end
    await nodes.well()

    async def all_published() -> bool:
        return not await pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")

    await eventually(all_published, within_s=WELL_AGAIN_WITHIN_S)
    await well(feed)
    async with open_client(feed) as client:
        recovered = {}
        for name in names:
            subscribed = await client.subscribe(name, position=positions[name])
            recovered[name] = subscribed["recovered"]
        assert list(recovered.values()) == [True, False, True]
        await announce_versions(pool, listing_ids, range(5, 6))
        told = await hear_versions(client, 6 + 1 + 6)
        assert [told[name] for name in names] == [list(range(6)), [5], list(range(6))]


async def test_a_lane_that_moves_to_another_node_is_heard_there(
    feed: str, pool: Pool, nodes: Cluster, redis_settings: RedisSettings
) -> None:
    listing_id, *_ = await channels_on_all_nodes(nodes, redis_settings)
    name = listing_channel(listing_id)
    slot = await slot_of(redis_settings, name)
    async with open_client(feed) as client:
        position = (await client.subscribe(name))["position"]
        nodes.nodes[0].give_slots(slot, slot, nodes.nodes[1])
        # Another server may not remember what the first one said last.
        assert await client.close_code() == 4500
    await announce_versions(pool, [listing_id], range(3))
    await well(feed)
    async with open_client(feed) as client:
        subscribed = await client.subscribe(name, position=position)
        assert subscribed["recovered"] is False
        await announce_versions(pool, [listing_id], range(3, 4))
        heard = [(await client.event())["data"]["version"]]
        while heard[-1] != 3:  # before it may come what was still to be published
            heard.append((await client.event())["data"]["version"])
        assert heard == list(range(heard[0], 4))
    nodes.nodes[1].give_slots(slot, slot, nodes.nodes[0])


async def test_attempts_to_sign_in_are_counted_on_a_cluster_too(
    database: DatabaseSettings, redis_settings: RedisSettings, pool: Pool
) -> None:
    person = await add_user(pool)
    async with serving(database, redis_settings) as api:
        told: list[str] = []

        async def limited() -> bool:
            told.extend(await codes(api, person.email, 1))
            return told[-1] == "rate_limited"

        await eventually(limited, within_s=30)
        assert told[:10] == ["bad_credentials"] * 10
