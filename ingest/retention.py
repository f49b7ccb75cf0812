"""Retention of rejected readings and of checkpoints, which would grow without a limit.

The counts of rejected readings are kept. Of days that no late reading can change any more, one
checkpoint a day is kept.
"""

import asyncio
from datetime import datetime, timedelta

import structlog

from core.clock import REAL_TIME, Clock
from core.ids import DeviceId
from db import checkpoints, locks, rejections
from db.errors import database_errors
from db.locks import AdvisoryLock
from db.pool import Pool

KEPT_PER_DEVICE = 1_000
KEPT_OF_STRANGERS = 10_000
LIMIT = 5_000
_DEVICES_AT_ONCE = 100
# A margin beyond the late horizon.
_SETTLED_AFTER = timedelta(days=1)
_DAY = timedelta(days=1)

_log = structlog.get_logger()


async def watch(
    pool: Pool, late_horizon: timedelta, *, clock: Clock = REAL_TIME, every_s: float = 10.0
) -> None:
    """Delete what is over the limits, until cancelled. Of several ingesters one does at a time."""
    while True:
        try:
            while await delete_expired(pool):
                pass
            await thin_checkpoints(pool, clock.now() - late_horizon - _SETTLED_AFTER)
        except database_errors() as error:
            _log.warning("retention_failed", error=type(error).__name__)
        await asyncio.sleep(every_s)


async def delete_expired(
    pool: Pool,
    *,
    kept: int = KEPT_PER_DEVICE,
    kept_of_strangers: int = KEPT_OF_STRANGERS,
    limit: int = LIMIT,
) -> int:
    """Delete records over the limits, at most `limit` in one transaction. Return their number."""
    async with pool.acquire() as conn, conn.transaction():
        if not await locks.try_lock_until_commit(conn, AdvisoryLock.REJECTION_RETENTION):
            return 0
        dropped = await rejections.drop_of_strangers(conn, kept=kept_of_strangers, limit=limit)
        for device_id in await rejections.crowded(conn, kept, _DEVICES_AT_ONCE):
            if dropped < limit:
                dropped += await rejections.drop(conn, device_id, kept=kept, limit=limit - dropped)
        return dropped


async def thin_checkpoints(pool: Pool, settled_at: datetime) -> None:
    """Keep one checkpoint per device and day, for whole days before an instant."""
    while True:
        async with pool.acquire() as conn:
            day = await checkpoints.thinned_until(conn)
        if day + _DAY > settled_at:
            return
        if not await _thin_day(pool, day):
            return


async def _thin_day(pool: Pool, day: datetime) -> bool:
    """Thin one day, some devices per transaction. Return False if another ingester does."""
    last: DeviceId | None = None
    while True:
        async with pool.acquire() as conn, conn.transaction():
            if not await locks.try_lock_until_commit(conn, AdvisoryLock.CHECKPOINT_RETENTION):
                return False
            device_ids = await checkpoints.devices_after(conn, last, _DEVICES_AT_ONCE)
            if not device_ids:
                await checkpoints.set_thinned_until(conn, day + _DAY)
                return True
            await checkpoints.thin(conn, device_ids, day, day + _DAY)
        last = device_ids[-1]
