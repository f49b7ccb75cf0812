"""The feed in Redis: one shard on a single server, several on a cluster.

A script may only use keys of one slot of a cluster. So on a cluster the feed has several shards,
each with a slot of its own, spread evenly over all slots. A channel belongs to one shard, by its
name. There are as many shards as divide evenly among up to 12 nodes. Work for several shards runs
in parallel, and each event is published once in each of its shards.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, TypeVar
from uuid import uuid4
from zlib import crc32

from redis.asyncio import ConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from core.settings import RedisSettings, cluster_nodes
from db.outbox import Pending
from realtime.feed_shard import (
    BusUnavailable,
    FeedShard,
    HistoryPage,
    Published,
    as_unavailable,
    script,
)
from realtime.positions import FeedPosition

TIMEOUT_S = 2.0
SHARDS_OF_CLUSTER = 12
_PREFIX = "solarhub:feed"
# Keys with the same text in braces are on the same node of a cluster.
_REPORTERS = "solarhub:feed:{reports}"
_REPORT_PREFIX = "solarhub:feed:{reports}:"
_REPORT_TTL_MS = 3000
_CALLS_AT_ONCE = SHARDS_OF_CLUSTER  # each call uses a connection
_NEVER_AGAIN = Retry(NoBackoff(), 0)
_SCRIPTS = ("publish", "claim", "beat", "read", "reset")

T = TypeVar("T")


class Bus:
    """All shards of the feed; made by `open_bus`. Its methods raise BusUnavailable."""

    def __init__(self, redis: Redis | RedisCluster, shards: Sequence[FeedShard]) -> None:
        self._redis: Any = redis
        self.shards = shards

    def shard_of(self, channel: str) -> FeedShard:
        return self.shards[crc32(channel.encode()) % len(self.shards)]

    async def claim(self) -> str:
        """Become the only publisher. Return the name of the claim."""
        name = uuid4().hex
        await _in_parallel(shard.claim(name) for shard in self.shards)
        return name

    async def publish(self, claim: str, batch: Sequence[Pending]) -> Published | None:
        """Publish the events that were not published before, in order. None: the claim is void."""
        answers = await _in_parallel(
            shard.publish(claim, own) for shard, own in self._shares(batch)
        )
        published = [answer for answer in answers if answer is not None]
        return Published.of(published) if len(published) == len(answers) else None

    async def reset(self, channels: Collection[str]) -> None:
        """Delete histories that accept no events. All clients of their shards reload."""
        shares = {
            shard: [c for c in channels if self.shard_of(c) is shard] for shard in self.shards
        }
        await _in_parallel(shard.reset(own) for shard, own in shares.items() if own)

    def _shares(self, batch: Sequence[Pending]) -> Iterator[tuple[FeedShard, list[Pending]]]:
        """Yield each shard with its events of a batch."""
        for shard in self.shards:
            shares = (
                replace(
                    event, channels=tuple(c for c in event.channels if self.shard_of(c) is shard)
                )
                for event in batch
            )
            if own := [event for event in shares if event.channels]:
                yield shard, own

    async def beat(self) -> None:
        """Publish a heartbeat in every shard."""
        await _in_parallel(shard.beat() for shard in self.shards)

    async def report(self, name: str, figures: str) -> None:
        """Store the figures of a realtime process for a few seconds."""
        with as_unavailable():
            async with asyncio.timeout(TIMEOUT_S):
                await self._redis.set(_REPORT_PREFIX + name, figures, px=_REPORT_TTL_MS)
                await self._redis.sadd(_REPORTERS, name)

    async def reports(self) -> list[bytes]:
        """Return the figures reported in the last seconds, and forget processes without any."""
        with as_unavailable():
            names: list[Any] = sorted(await self._redis.smembers(_REPORTERS))
            if not names:
                return []
            keys = [_REPORT_PREFIX + name.decode() for name in names]
            found: list[Any] = await self._redis.mget(keys)
            silent = [name for name, one in zip(names, found, strict=True) if one is None]
            if silent:
                await self._redis.srem(_REPORTERS, *silent)
            return [one for one in found if one is not None]

    async def read(self, channel: str, after: FeedPosition | None, *, count: int) -> HistoryPage:
        """Read a channel's history, as `FeedShard.read` does."""
        return await self.shard_of(channel).read(channel, after, count=count)


async def _in_parallel(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all answers, in order. If one raised, raise its error after all have ended."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers  # type: ignore[return-value]


class _Scripts:
    """Runs the feed's scripts with a timeout, at most `_CALLS_AT_ONCE` at the same time."""

    def __init__(self, redis: Redis | RedisCluster) -> None:
        self._scripts = {name: redis.register_script(script(name)) for name in _SCRIPTS}
        self._calls = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def call(self, name: str, keys: list[str], args: list[Any]) -> Any:
        with as_unavailable():
            async with asyncio.timeout(TIMEOUT_S), self._calls:
                return await self._scripts[name](keys=keys, args=args)


@asynccontextmanager
async def open_bus(settings: RedisSettings) -> AsyncIterator[Bus]:
    """Yield a bus that connects on first use, so that a process may start before its Redis."""
    nodes = cluster_nodes(settings.redis_url)
    redis = _cluster(nodes) if nodes else _server(settings.redis_url)
    scripts, dial = _Scripts(redis), partial(_dial, redis)
    prefixes = _slot_prefixes() if nodes else [_PREFIX]
    try:
        yield Bus(redis, [FeedShard(prefix, settings, scripts.call, dial) for prefix in prefixes])
    finally:
        await redis.aclose()


def _options() -> dict[str, Any]:
    # `_Scripts` sets timeouts: redis-py uses asyncio.wait_for, which before Python 3.12 may swallow
    # a cancellation. Callers decide whether to retry.
    return {
        "protocol": 2, "socket_timeout": None, "socket_connect_timeout": TIMEOUT_S,
        "retry": _NEVER_AGAIN,
    }  # fmt: skip


def _server(url: str) -> Redis:
    return Redis.from_pool(ConnectionPool.from_url(url, **_options()))


def _cluster(nodes: Sequence[str]) -> RedisCluster:
    """Return a client that discovers the cluster from any of these nodes."""
    places = [parse_url(node) for node in nodes]
    startup_nodes = [ClusterNode(place["host"], place.get("port", 6379)) for place in places]
    # Moved slots must not close connections that are in use: no reinitialize_steps.
    return RedisCluster.from_url(
        nodes[0], startup_nodes=startup_nodes, reinitialize_steps=0, **_options()
    )


def _dial(redis: Redis | RedisCluster, key: str) -> AbstractConnection:
    """Return a new connection to the server that has a key, not yet connected."""
    connection: AbstractConnection
    if isinstance(redis, Redis):
        connection = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    else:
        node = redis.get_node_from_key(key)
        if node is None:
            raise BusUnavailable("no node of the cluster has the slot")
        connection = node.connection_class(**node.connection_kwargs, retry=_NEVER_AGAIN)
    return connection


def _slot_prefixes() -> list[str]:
    """Return key prefixes, the nth of them in the nth part of a cluster's slots."""
    return [next(p for p in _tagged(n) if _part(p) == n) for n in range(SHARDS_OF_CLUSTER)]


def _tagged(n: int) -> Iterator[str]:
    return (f"{_PREFIX}:{{{n}.{attempt}}}" for attempt in count())


def _part(prefix: str) -> int:
    return key_slot(prefix.encode()) * SHARDS_OF_CLUSTER // REDIS_CLUSTER_HASH_SLOTS
