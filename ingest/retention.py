"""The timer that bounds what would grow without end: records of rejections, and checkpoints.

Counts of rejected readings stay. Of the checkpoints of interval accounting, one per device and day
stays for days that no late reading can change any more.
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

# Records of rejections that stay: the newest of each device, and of all unknown devices together.
REJECTIONS_PER_DEVICE_MAX = 1_000
REJECTIONS_OF_UNKNOWN_MAX = 10_000
# Per transaction, so that it holds its locks only briefly.
DELETE_MAX = 5_000
_DEVICES_PER_TRANSACTION = 100
# Days are thinned this long after the late horizon, when their readings are compressed too.
_SETTLED_AFTER = timedelta(days=1)
_DAY = timedelta(days=1)

_log = structlog.get_logger()


async def watch(
    pool: Pool, late_horizon: timedelta, *, clock: Clock = REAL_TIME, every_s: float = 10.0
) -> None:
    """Apply retention until cancelled. An advisory lock lets one ingester do so at a time."""
    while True:
        try:
            while await delete_surplus_rejections(pool):
                pass
            await thin_checkpoints(pool, clock.now() - late_horizon - _SETTLED_AFTER)
        except database_errors() as error:
            _log.warning("retention_not_applied", error=type(error).__name__)
        await asyncio.sleep(every_s)


async def delete_surplus_rejections(
    pool: Pool,
    *,
    per_device_max: int = REJECTIONS_PER_DEVICE_MAX,
    of_unknown_max: int = REJECTIONS_OF_UNKNOWN_MAX,
    limit: int = DELETE_MAX,
) -> int:
    """Delete at most `limit` of the records that are too many, and return how many."""
    async with pool.acquire() as conn, conn.transaction():
        if not await locks.try_lock_until_commit(conn, AdvisoryLock.REJECTION_RETENTION):
            return 0
        deleted = await rejections.drop_of_unknown(conn, kept_max=of_unknown_max, limit=limit)
        for device_id in await rejections.over_limit(
            conn, per_device_max, _DEVICES_PER_TRANSACTION
        ):
            if deleted < limit:
                deleted += await rejections.drop(
                    conn, device_id, kept_max=per_device_max, limit=limit - deleted
                )
        return deleted


async def thin_checkpoints(pool: Pool, settled_at: datetime) -> None:
    """Leave one checkpoint per device and day for all days that end before `settled_at`."""
    while True:
        async with pool.acquire() as conn:
            day = await checkpoints.thinned_until(conn)
        if day + _DAY > settled_at:
            return
        if not await _thin_day(pool, day):
            return


async def _thin_day(pool: Pool, day: datetime) -> bool:
    """Thin the checkpoints of a day. Returns False if another ingester is doing so.

    Some devices per transaction; the day is recorded as thinned after the last one, so that a
    process that is killed leaves it to the next.
    """
    last: DeviceId | None = None
    while True:
        async with pool.acquire() as conn, conn.transaction():
            if not await locks.try_lock_until_commit(conn, AdvisoryLock.CHECKPOINT_RETENTION):
                return False
            device_ids = await checkpoints.devices_after(conn, last, _DEVICES_PER_TRANSACTION)
            if not device_ids:
                await checkpoints.set_thinned_until(conn, day + _DAY)
                return True
            await checkpoints.thin(conn, device_ids, day, day + _DAY)
        last = device_ids[-1]
