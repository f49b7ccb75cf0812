"""Records of what was refused don't grow without end; how much was refused stays known."""

import asyncio

import structlog

from db import locks, rejections
from db.errors import DATABASE_ERRORS, UNAVAILABLE, mind_cancellation
from db.locks import AdvisoryLock
from db.pool import Pool

KEPT_PER_DEVICE = 1_000
KEPT_OF_STRANGERS = 10_000
LIMIT = 5_000
_DEVICES_AT_ONCE = 100

_log = structlog.get_logger()


async def watch(pool: Pool, *, every_s: float = 10.0) -> None:
    """Tidy up until cancelled. Of several ingesters one does at a time."""
    while True:
        try:
            while await delete_expired(pool):
                pass
        except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
            mind_cancellation(error)
            _log.warning("rejections_not_tidied", error=type(error).__name__)
        await asyncio.sleep(every_s)


async def delete_expired(
    pool: Pool,
    *,
    kept: int = KEPT_PER_DEVICE,
    kept_of_strangers: int = KEPT_OF_STRANGERS,
    limit: int = LIMIT,
) -> int:
    """Drop some of the records that are too many, at most `limit`. Returns how many."""
    async with pool.acquire() as conn, conn.transaction():
        if not await locks.try_lock_until_commit(conn, AdvisoryLock.REJECTION_RETENTION):
            return 0
        dropped = await rejections.drop_of_strangers(conn, kept=kept_of_strangers, limit=limit)
        for device_id in await rejections.crowded(conn, kept, _DEVICES_AT_ONCE):
            if dropped < limit:
                dropped += await rejections.drop(conn, device_id, kept=kept, limit=limit - dropped)
        return dropped
