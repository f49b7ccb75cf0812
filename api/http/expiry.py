"""Idempotency keys and refresh tokens whose time is over are deleted, some at a time."""

import asyncio
from datetime import timedelta

import structlog

from db import idempotency, locks, refresh_tokens
from db.errors import DATABASE_ERRORS, UNAVAILABLE, mind_cancellation
from db.locks import AdvisoryLock
from db.pool import Pool

# Few enough that a transaction is over in milliseconds, often enough that it keeps up with
# thousands of purchases a second.
LIMIT = 1_000
_PAUSE_S = 0.05

_log = structlog.get_logger()


async def watch(pool: Pool, idempotency_ttl: timedelta, *, every_s: float = 60.0) -> None:
    """Delete what is over until cancelled. Of several processes one does at a time."""
    while True:
        more = False
        try:
            more = await expire(pool, idempotency_ttl)
        except (*UNAVAILABLE, *DATABASE_ERRORS) as error:
            mind_cancellation(error)
            _log.warning("nothing_expired", error=repr(error))
        await asyncio.sleep(_PAUSE_S if more else every_s)


async def expire(pool: Pool, idempotency_ttl: timedelta, *, limit: int = LIMIT) -> bool:
    """Delete some of what is over, at most `limit` of a kind. True: there may be more."""
    async with pool.acquire() as conn, conn.transaction():
        if not await locks.try_lock_until_commit(conn, AdvisoryLock.EXPIRY):
            return False
        keys = await idempotency.forget(conn, older_than=idempotency_ttl, limit=limit)
        expired = await refresh_tokens.forget_expired(conn, limit=limit)
        revoked = await refresh_tokens.forget_revoked(conn, limit=limit)
    return limit in (keys, expired, revoked)
