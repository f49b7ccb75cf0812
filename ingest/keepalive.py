"""Victron's GX devices speak only while they are asked to: ask them, again and again."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from core.dialects import Dialect
from db.device_names import names_of
from db.errors import DATABASE_ERRORS, UNAVAILABLE, mind_cancellation
from db.pool import Pool

# They fall silent after 60 s.
EVERY_S = 30.0

_log = structlog.get_logger()


async def keep_alive(
    pool: Pool, publish: Callable[[str, str, int], Awaitable[None]], connected: asyncio.Event
) -> None:
    """Ask all that are registered, until cancelled. That several ingesters ask does no harm."""
    await connected.wait()
    while True:
        try:
            for portal in await names_of(pool, Dialect.VICTRON):
                await publish(f"R/{portal}/keepalive", "", 0)
        except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
            mind_cancellation(error)
            _log.warning("not_kept_alive", error=type(error).__name__)
        await asyncio.sleep(EVERY_S)
