"""Nobody who reloads is shown less than the feed has told: the replica stumbles, the API does not.

A client that is told to reload goes on from the position it is given. What is older than that it
will never hear again, so the answers of the API must not be older either.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random

import pytest

from core.settings import DatabaseSettings, RedisSettings
from db import schema
from db.pool import Pool, open_pool
from tests.api.conftest import Api, data_of, serving
from tests.realtime.client import open_client
from tests.realtime.conftest import Parts
from tests.support import replicas
from tests.support.people import Person, add_listing, add_user
from tests.support.replicas import Replica
from tests.support.waiting import eventually

CHANGES = 30
ENOUGH_WITHIN_S = 90
PATH = "/api/v1/marketplace/listings"


@asynccontextmanager
async def stumbling(replica: Replica) -> AsyncIterator[None]:
    """Stop its replay now and then, for less and for more time than a reader waits."""
    chance = Random(7)

    async def stumble() -> None:
        while True:
            await replica.hold_up()
            await asyncio.sleep(chance.uniform(0, 0.6))
            await replica.go_on()
            await asyncio.sleep(chance.uniform(0, 1))

    stumbling = asyncio.create_task(stumble())
    try:
        yield
    finally:
        stumbling.cancel()
        await asyncio.wait([stumbling])
        await replica.go_on()


@asynccontextmanager
async def market(primary_url: str, read_url: str) -> AsyncIterator[tuple[DatabaseSettings, Pool]]:
    database = DatabaseSettings(database_url=primary_url, database_read_url=read_url)
    await schema.migrate(database)
    async with open_pool(database, application_name="test") as pool:
        yield database, pool


async def is_well(api: Api) -> bool:
    return bool(data_of(await api.call("GET", "/readyz"))["replica"] == "ok")


@pytest.mark.slow
async def test_no_answer_is_older_than_what_the_feed_told_before(
    data: Path, redis_settings: RedisSettings
) -> None:
    with replicas.pair(data) as pair:
        async with market(pair.primary_url, pair.replica.url) as (database, pool):
            host, anybody = await add_user(pool, "host"), await add_user(pool)
            listing_id = await add_listing(pool, host)
            parts = Parts(database, redis_settings)
            async with (
                serving(database) as api,
                parts.relay(),
                parts.hub() as url,
                open_client(url, anybody.id) as client,
            ):
                await eventually(lambda: is_well(api))
                told = await client.subscribe("listings", position="of:nowhere")
                assert told["recovered"] is False
                async with stumbling(pair.replica), asyncio.timeout(ENOUGH_WITHIN_S):
                    for n in count():
                        if n >= CHANGES and await both_answered(api):
                            break
                        await reprice(api, host, str(listing_id), f"{5 + n / 1000:.4f}")
                        event = await client.event()
                        shown = await api.get(f"{PATH}/{listing_id}", anybody)
                        assert shown["version"] >= event["data"]["version"]
                        [listed] = (await api.get(PATH, anybody))["items"]
                        assert listed["version"] >= event["data"]["version"]


async def both_answered(api: Api) -> bool:
    metrics = (await api.call("GET", "/metrics")).text
    servers = ("replica", "primary")
    return all(f'solarhub_reads_total{{server="{server}"}}' in metrics for server in servers)


async def reprice(api: Api, host: Person, listing_id: str, price: str) -> None:
    body = {"price_per_kwh": price}
    assert (await api.call("PATCH", f"{PATH}/{listing_id}", host, json=body)).is_success
