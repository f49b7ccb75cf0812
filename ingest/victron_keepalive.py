"""The requests that keep Victron's GX devices publishing: they publish only while asked to."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from core.dialects import Dialect
from db import devices
from db.errors import database_errors
from db.pool import Pool

# A GX device stops to publish 60 s after the last request: one request may get lost.
REQUEST_EVERY_S = 30.0

_log = structlog.get_logger()


async def keep_publishing(
    pool: Pool, publish: Callable[[str, str, int], Awaitable[None]], connected: asyncio.Event
) -> None:
    """Ask all registered GX devices until cancelled. Several ingesters may do so at once."""
    await connected.wait()
    while True:
        try:
            async with pool.acquire() as conn:
                portals = await devices.external_ids(conn, Dialect.VICTRON)
            for portal in portals:
                await publish(f"R/{portal}/keepalive", "", 0)
        except database_errors() as error:
            _log.warning("keepalive_requests_not_sent", error=type(error).__name__)
        await asyncio.sleep(REQUEST_EVERY_S)
