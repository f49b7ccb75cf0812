"""The deletion of expired idempotency keys and refresh tokens, in small batches."""

import asyncio
from datetime import timedelta

import structlog

from db import idempotency, locks, sign_ins
from db.errors import database_errors
from db.locks import AdvisoryLock
from db.pool import Pool

# A batch of this size takes milliseconds. With this pause between batches, the deletion keeps up
# with thousands of purchases a second.
BATCH_MAX = 1_000
_PAUSE_S = 0.05

_log = structlog.get_logger()


async def run(pool: Pool, idempotency_ttl: timedelta, *, interval_s: float = 60.0) -> None:
    """Delete what has expired, until cancelled."""
    while True:
        more = False
        try:
            more = await delete_expired(pool, idempotency_ttl)
        except database_errors() as error:
            _log.warning("expiry_failed", error=repr(error))
        await asyncio.sleep(_PAUSE_S if more else interval_s)


async def delete_expired(pool: Pool, idempotency_ttl: timedelta, *, limit: int = BATCH_MAX) -> bool:
    """Delete a batch of at most `limit` rows of each kind. Returns whether there may be more.

    Does nothing while another process deletes.
    """
    async with pool.acquire() as conn, conn.transaction():
        if not await locks.try_lock_until_commit(conn, AdvisoryLock.EXPIRY):
            return False
        keys = await idempotency.forget(conn, older_than=idempotency_ttl, limit=limit)
        expired = await sign_ins.delete_expired(conn, limit=limit)
        revoked = await sign_ins.delete_revoked(conn, limit=limit)
    return limit in (keys, expired, revoked)
