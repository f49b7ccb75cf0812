"""Redis, as far as the API needs it: a server or a cluster, which may be away."""

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


class RedisLink:
    """`client` is None where no Redis is set. Give every call a limit of time of your own."""

    def __init__(self, client: Client | None) -> None:
        self.client = client

    async def state(self) -> State:
        if self.client is None:
            return "off"
        try:
            async with asyncio.timeout(_PING_MAX_S):
                await self.client.ping()
        except REDIS_ERRORS:
            return "degraded"
        return "ok"


@contextlib.asynccontextmanager
async def open_redis(settings: RedisSettings | None) -> AsyncIterator[RedisLink]:
    """Connects when first used; a connection that was lost meanwhile is made anew, once a call."""
    if settings is None:
        yield RedisLink(None)
        return
    nodes = cluster_nodes(settings.redis_url)
    client = _cluster(nodes) if nodes else Redis.from_url(settings.redis_url, **_options())
    try:
        yield RedisLink(client)
    finally:
        await client.aclose()


def _cluster(nodes: Sequence[str]) -> RedisCluster:
    """It learns from any node that answers which others there are."""
    places = [parse_url(node) for node in nodes]
    startup_nodes = [ClusterNode(place["host"], place.get("port", 6379)) for place in places]
    # Slots that moved are no reason to close connections that others use: no reinitialize_steps.
    return RedisCluster.from_url(
        nodes[0], startup_nodes=startup_nodes, reinitialize_steps=0, **_options()
    )


def _options() -> dict[str, Any]:
    # Its own timeouts are asyncio.wait_for, which may swallow a cancellation (Python 3.11).
    return {
        "socket_timeout": None,
        "socket_connect_timeout": None,
        "retry": Retry(NoBackoff(), 1),
    }
