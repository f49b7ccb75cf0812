"""Redis, as the feed uses it: one lane on a server, several that share the nodes of a cluster.

A script may only touch keys of one slot of a cluster. So there the feed has lanes, each with a slot
of its own, as far apart as can be; a channel belongs to one of them for good, by its name. There
are as many as divide evenly among up to 12 nodes. What goes to several lanes is done in each, at
the same time, and is published once in each.
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
from realtime.feed_shard import BusAway, FeedShard, HistoryPage, Published, away, script
from realtime.positions import FeedPosition

TIMEOUT_S = 2.0
LANES_OF_CLUSTER = 12
_PREFIX = "solarhub:feed"
# In braces: all of a Redis Cluster's keys with the same word there are on one of its nodes.
_REPORTERS = "solarhub:feed:{reports}"
_REPORT_PREFIX = "solarhub:feed:{reports}:"
_REPORT_TTL_MS = 3000
_CALLS_AT_ONCE = LANES_OF_CLUSTER  # each is a connection
_NEVER_AGAIN = Retry(NoBackoff(), 0)
_SCRIPTS = ("publish", "claim", "beat", "read", "reset")

T = TypeVar("T")


class Bus:
    """Made by `open_bus`. Its methods raise BusAway."""

    def __init__(self, redis: Redis | RedisCluster, lanes: Sequence[FeedShard]) -> None:
        self._redis: Any = redis
        self.lanes = lanes

    def lane_of(self, channel: str) -> FeedShard:
        return self.lanes[crc32(channel.encode()) % len(self.lanes)]

    async def claim(self) -> str:
        """Become the one that publishes, and learn by what name."""
        name = uuid4().hex
        await _at_once(lane.claim(name) for lane in self.lanes)
        return name

    async def publish(self, claim: str, batch: Sequence[Pending]) -> Published | None:
        """Publish, in order, what was not published before. None: the claim is void."""
        answers = await _at_once(lane.publish(claim, own) for lane, own in self._shares(batch))
        published = [answer for answer in answers if answer is not None]
        return Published.of(published) if len(published) == len(answers) else None

    async def reset(self, channels: Collection[str]) -> None:
        """Drop the histories of channels that take no events. All clients of their lanes reload."""
        shares = {lane: [c for c in channels if self.lane_of(c) is lane] for lane in self.lanes}
        await _at_once(lane.reset(own) for lane, own in shares.items() if own)

    def _shares(self, batch: Sequence[Pending]) -> Iterator[tuple[FeedShard, list[Pending]]]:
        """What of a batch goes to each lane."""
        for lane in self.lanes:
            shares = (
                replace(event, channels=tuple(c for c in event.channels if self.lane_of(c) is lane))
                for event in batch
            )
            if own := [event for event in shares if event.channels]:
                yield lane, own

    async def beat(self) -> None:
        """Tell every hub that it can hear."""
        await _at_once(lane.beat() for lane in self.lanes)

    async def report(self, name: str, figures: str) -> None:
        """Let relays know for a few seconds how the hub of this name is."""
        with away():
            async with asyncio.timeout(TIMEOUT_S):
                await self._redis.set(_REPORT_PREFIX + name, figures, px=_REPORT_TTL_MS)
                await self._redis.sadd(_REPORTERS, name)

    async def reports(self) -> list[bytes]:
        """What hubs reported in the last seconds; those that fell silent are forgotten."""
        with away():
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
        """As `FeedShard.read` says."""
        return await self.lane_of(channel).read(channel, after, count=count)


async def _at_once(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All answers, in order. Raises what one of them raised, once none is under way any more."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers  # type: ignore[return-value]


class _Scripts:
    """Runs the scripts of the feed, within a limit of time, a few of them at once."""

    def __init__(self, redis: Redis | RedisCluster) -> None:
        self._scripts = {name: redis.register_script(script(name)) for name in _SCRIPTS}
        self._calls = asyncio.Semaphore(_CALLS_AT_ONCE)

    async def call(self, name: str, keys: list[str], args: list[Any]) -> Any:
        with away():
            async with asyncio.timeout(TIMEOUT_S), self._calls:
                return await self._scripts[name](keys=keys, args=args)


@asynccontextmanager
async def open_bus(settings: RedisSettings) -> AsyncIterator[Bus]:
    """A bus that connects when first used, so that a process may start before its Redis."""
    nodes = cluster_nodes(settings.redis_url)
    redis = _cluster(nodes) if nodes else _server(settings.redis_url)
    scripts, dial = _Scripts(redis), partial(_dial, redis)
    prefixes = _slot_prefixes() if nodes else [_PREFIX]
    try:
        yield Bus(redis, [FeedShard(prefix, settings, scripts.call, dial) for prefix in prefixes])
    finally:
        await redis.aclose()


def _options() -> dict[str, Any]:
    # Timeouts are ours (`_Scripts`): redis-py's own are made with asyncio.wait_for, which before
    # Python 3.12 may swallow a cancellation. Whether to try again is for the caller to say.
    return {
        "protocol": 2, "socket_timeout": None, "socket_connect_timeout": TIMEOUT_S,
        "retry": _NEVER_AGAIN,
    }  # fmt: skip


def _server(url: str) -> Redis:
    return Redis.from_pool(ConnectionPool.from_url(url, **_options()))


def _cluster(nodes: Sequence[str]) -> RedisCluster:
    """It learns from any node that answers which others there are."""
    places = [parse_url(node) for node in nodes]
    startup_nodes = [ClusterNode(place["host"], place.get("port", 6379)) for place in places]
    # Slots that moved are no reason to close connections that others use: no reinitialize_steps.
    return RedisCluster.from_url(
        nodes[0], startup_nodes=startup_nodes, reinitialize_steps=0, **_options()
    )


def _dial(redis: Redis | RedisCluster, key: str) -> AbstractConnection:
    """A connection of its own to the server that has a key; not connected yet."""
    connection: AbstractConnection
    if isinstance(redis, Redis):
        connection = redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    else:
        node = redis.get_node_from_key(key)
        if node is None:
            raise BusAway("no node of the cluster has the slot")
        connection = node.connection_class(**node.connection_kwargs, retry=_NEVER_AGAIN)
    return connection


def _slot_prefixes() -> list[str]:
    """Prefixes of keys, the nth of which are in the nth part of a cluster's slots."""
    return [next(p for p in _tagged(n) if _part(p) == n) for n in range(LANES_OF_CLUSTER)]


def _tagged(n: int) -> Iterator[str]:
    return (f"{_PREFIX}:{{{n}.{attempt}}}" for attempt in count())


def _part(prefix: str) -> int:
    return key_slot(prefix.encode()) * LANES_OF_CLUSTER // REDIS_CLUSTER_HASH_SLOTS
