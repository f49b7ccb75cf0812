"""Redis, as far as the API needs it: it may be away."""

import contextlib
from collections.abc import AsyncIterator
from typing import Literal

from redis.asyncio import Redis
from redis.exceptions import RedisError

from core.settings import RedisSettings

State = Literal["ok", "degraded", "off"]
_TIMEOUT_S = 1


class RedisLink:
    def __init__(self, client: Redis | None) -> None:
        self._client = client

    async def state(self) -> State:
        if self._client is None:
            return "off"
        try:
            await self._client.ping()
        except (RedisError, OSError):
            return "degraded"
        return "ok"


@contextlib.asynccontextmanager
async def open_redis(settings: RedisSettings | None) -> AsyncIterator[RedisLink]:
    """Connects when first used."""
    if settings is None:
        yield RedisLink(None)
        return
    client = Redis.from_url(
        settings.redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
    )
    async with client:
        yield RedisLink(client)
