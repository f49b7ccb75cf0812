"""The reference client stays connected whatever happens to hubs and tokens."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from random import Random
from uuid import uuid4

import pytest

from core.feed import FeedEvent, Reload, Subscription
from db.pool import Pool
from simulators.feed import FeedClient, FeedRefused
from tests.realtime.announcing import announce, listing_event
from tests.realtime.client import token
from tests.realtime.conftest import Parts
from tests.support.ports import free
from tests.support.waiting import eventually

ParsedEvent = AsyncGenerator[FeedEvent | Reload, None]


def feed_of(port: int, channel: str, *, ttl_s: float = 900) -> FeedClient:
    async def fresh_token() -> str:
        return token(ttl_s=ttl_s)

    url = f"ws://127.0.0.1:{port}/ws"
    return FeedClient(url, [Subscription(channel)], token=fresh_token, rng=Random(1))


async def begin_to_hear(told: ParsedEvent, pool: Pool) -> int:
    """Announce one version after the other until one is heard: that one."""
    listing_id, version = uuid4(), 0
    assert isinstance(await anext(told), Reload)
    first = asyncio.ensure_future(anext(told))

    async def announced_and_heard() -> bool:
        nonlocal version
        version += 1
        await announce(pool, listing_event(listing_id, version))
        return first.done()

    await eventually(announced_and_heard)
    return version_of(await first)


def version_of(told: FeedEvent | Reload) -> int:
    assert isinstance(told, FeedEvent)
    version: int = told.data["version"]
    return version


async def test_nothing_is_missed_while_the_hub_restarts(parts: Parts, pool: Pool) -> None:
    port, listing_id = free(), uuid4()
    async with parts.relay(), aclosing(feed_of(port, "listings").events()) as told:
        async with parts.hub(port):
            await begin_to_hear(told, pool)
        await announce(pool, *(listing_event(listing_id, 1000 + n) for n in range(20)))
        async with parts.hub(port), asyncio.timeout(20):
            heard = [version_of(one) async for one in until(told, 1019)]
    assert heard[-20:] == list(range(1000, 1020))
    assert heard == sorted(set(heard))


async def until(told: ParsedEvent, last: int) -> ParsedEvent:
    async for one in told:
        yield one
        if version_of(one) == last:
            return


async def test_a_client_stays_signed_in_past_the_end_of_its_token(feed: str, pool: Pool) -> None:
    port = int(feed.split(":")[2].removesuffix("/ws"))
    async with aclosing(feed_of(port, "listings", ttl_s=2).events()) as told:
        await begin_to_hear(told, pool)
        began_at = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < began_at + 3:
            await announce(pool, listing_event(uuid4()))
            async with asyncio.timeout(5):
                assert isinstance(await anext(told), FeedEvent)


async def test_a_client_does_not_ask_again_for_what_is_refused(feed: str) -> None:
    port = int(feed.split(":")[2].removesuffix("/ws"))
    async with aclosing(feed_of(port, f"user:{uuid4()}").events()) as told:
        with pytest.raises(FeedRefused, match="forbidden"):
            await anext(told)
