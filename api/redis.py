"""Redis, as far as the API needs it: it may be away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Literal

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.settings import RedisSettings

State = Literal["ok", "degraded", "off"]
REDIS_ERRORS = (RedisError, OSError, TimeoutError)
_PING_MAX_S = 1


class RedisLink:
    """`client` is None where no Redis is set. Give every call a limit of time of your own."""

    def __init__(self, client: Redis | None) -> None:
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
    # Its own timeouts are asyncio.wait_for, which may swallow a cancellation (Python 3.11).
    client = Redis.from_url(
        settings.redis_url,
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 1),
    )
    async with client:
        yield RedisLink(client)
