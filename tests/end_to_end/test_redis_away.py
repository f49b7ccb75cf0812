"""While Redis is away people buy on; what they bought is told when it is back.

`SOLARHUB_TEST_TURMOIL=30s` keeps it away for so long; by itself only until the hub has noticed.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from uuid import UUID, uuid4

import httpx
import pytest

from core.events import EventType
from core.feed import Reload, Subscription
from core.settings import DatabaseSettings, RedisSettings
from db.pool import Pool
from simulators.feed import FeedClient
from solarhub import embedded
from tests.api.conftest import Api, data_of, serving
from tests.end_to_end.turmoil import Backing, lasts_s
from tests.realtime.client import token
from tests.realtime.conftest import Parts
from tests.support.people import Person, add_listing, add_user
from tests.support.ports import free
from tests.support.waiting import eventually

PURCHASES = 20
TOLD_WITHIN_S = 30


@dataclass(slots=True)
class Buyer:
    """Buys, and listens to what is told of it."""

    person: Person
    bought: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    reloads: int = 0

    async def buy(self, api: Api, listing_id: UUID) -> None:
        order = {"listing_id": str(listing_id), "energy_kwh": "0.5"}
        path = "/api/v1/marketplace/purchase"
        response = await api.call("POST", path, self.person, json=order, key=str(uuid4()))
        self.bought.append(data_of(response)["id"])

    async def listen(self, url: str) -> None:
        async def fresh_token() -> str:
            return token(self.person.id)

        feed = FeedClient(
            url, [Subscription("user")], token=fresh_token, rng=Random(1), retry_max_s=1
        )
        async with aclosing(feed.events()) as events:
            async for one in events:
                if isinstance(one, Reload):
                    self.reloads += 1
                elif one.type == EventType.PURCHASE_COMPLETED:
                    self.told.append(one.data["id"])


@dataclass(frozen=True, slots=True)
class Market:
    redis: Backing
    api: Api
    hub_url: str
    listing_id: UUID
    buyer: Buyer

    async def trade(self, times: int) -> None:
        for _ in range(times):
            await self.buyer.buy(self.api, self.listing_id)

    async def trade_while_away(self) -> None:
        """Until the hub has noticed, and at least as long as it is to last."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.trade(PURCHASES))
            tasks.create_task(asyncio.sleep(lasts_s(0)))
            await eventually(self.is_unwell)
        await self.trade(1)

    async def is_unwell(self) -> bool:
        return await self._readiness() == 503

    async def is_well(self) -> bool:
        return await self._readiness() == 200

    async def _readiness(self) -> int:
        url = self.hub_url.replace("ws://", "http://").replace("/ws", "/readyz")
        async with httpx.AsyncClient(trust_env=False, verify=False) as browser:
            return (await browser.get(url)).status_code


@pytest.fixture
async def market(pool: Pool, database: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Market]:
    async with AsyncExitStack() as stack:
        redis = Backing(embedded.valkey, tmp_path / "valkey")
        stack.push_async_callback(redis.stop)
        await redis.start()
        settings = RedisSettings(redis_url=redis.url)
        parts = Parts(database, settings)
        await stack.enter_async_context(parts.relay())
        hub_url = await stack.enter_async_context(parts.hub(free()))
        api = await stack.enter_async_context(serving(database, settings))
        buyer = Buyer(await add_user(pool, balance=1000))
        listing_id = await add_listing(pool, await add_user(pool, "host"), kwh=100)
        listening = asyncio.create_task(buyer.listen(hub_url))
        market = Market(redis, api, hub_url, listing_id, buyer)
        await eventually(lambda: buyer.reloads == 1)
        await market.trade(1)
        await eventually(lambda: buyer.told == buyer.bought)
        yield market
        listening.cancel()
        await asyncio.wait([listening])


@asynccontextmanager
async def not_answering(redis: Backing) -> AsyncIterator[None]:
    """As behind a network that is down: it lives, and forgets nothing."""
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(redis.pid, signal.SIGCONT)


async def test_all_that_was_bought_meanwhile_follows_when_redis_answers_again(
    market: Market, pool: Pool
) -> None:
    async with not_answering(market.redis):
        await market.trade_while_away()
        assert await pool.fetchval("SELECT count(*) FROM outbox") > PURCHASES
    buyer = market.buyer
    await eventually(lambda: buyer.told == buyer.bought, within_s=TOLD_WITHIN_S)
    assert buyer.reloads == 1  # the first: it was told `recovered: true` since
    assert not await pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")


@pytest.mark.parametrize("forgets", [False, True], ids=["restarts", "is emptied"])
async def test_who_listens_is_told_to_reload_when_redis_is_another_one(
    market: Market, pool: Pool, forgets: bool
) -> None:
    buyer, back = market.buyer, asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(market.redis.kill(until=back, forgets=forgets))
        await market.trade_while_away()
        back.set()
    await eventually(lambda: buyer.reloads >= 2, within_s=TOLD_WITHIN_S)
    await eventually(market.is_well)

    async def all_published() -> bool:
        return not await pool.fetchval("SELECT EXISTS (SELECT FROM outbox)")

    await eventually(all_published, within_s=TOLD_WITHIN_S)
    await market.trade(1)
    await eventually(lambda: buyer.told[-1] == buyer.bought[-1])
    # What it was told are its purchases, in order, and what is not among them it could load.
    assert [one for one in buyer.bought if one in buyer.told] == buyer.told
