"""The connection to Redis, a server or a cluster, which may be unavailable."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from core.settings import RedisSettings, cluster_nodes

Client = Redis | RedisCluster

State = Literal["ok", "degraded", "off"]
REDIS_ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError)
_PING_MAX_S = 1


class RedisConnection:
    """The client of a process, None where no Redis is configured.

    The client has no timeouts. Every call needs an `asyncio.timeout` around it.
    """

    def __init__(self, client: Client | None) -> None:
        self.client = client

    async def state(self) -> State:
        """Return the state for `/readyz`, by a ping."""
        if self.client is None:
            return "off"
        try:
            async with asyncio.timeout(_PING_MAX_S):
                await self.client.ping()
        except REDIS_ERRORS:
            return "degraded"
        return "ok"


@contextlib.asynccontextmanager
async def open_redis(settings: RedisSettings | None) -> AsyncIterator[RedisConnection]:
    """Open a client that connects at its first call, and reconnects once in each call."""
    if settings is None:
        yield RedisConnection(None)
        return
    nodes = cluster_nodes(settings.redis_url)
    client = _cluster(nodes) if nodes else Redis.from_url(settings.redis_url, **_options())
    try:
        yield RedisConnection(client)
    finally:
        await client.aclose()


def _cluster(nodes: Sequence[str]) -> RedisCluster:
    """Return a client of a cluster, which learns all nodes from any of these that answers."""
    addresses = [parse_url(node) for node in nodes]
    startup_nodes = [ClusterNode(each["host"], each.get("port", 6379)) for each in addresses]
    # reinitialize_steps=0: after slots moved, keep the connections that other calls use.
    return RedisCluster.from_url(
        nodes[0], startup_nodes=startup_nodes, reinitialize_steps=0, **_options()
    )


def _options() -> dict[str, Any]:
    # redis-py would use asyncio.wait_for, which may lose a cancellation in Python 3.11.
    return {
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "retry": Retry(NoBackoff(), 1),
    }
