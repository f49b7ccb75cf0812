"""What time alone does: silence takes a device offline, the end of its window closes a listing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic

import structlog

from core.clock import REAL_TIME, Clock
from core.enums import DeviceStatus, Queue
from core.ids import DeviceId, ListingId
from core.selling import DEFAULT_RULES, SellingRules
from db import device_states, listing_adjustments, outbox
from db.errors import database_errors
from db.pool import Connection, Pool
from ingest.isolation import each_by_itself
from ingest.listing_sync import sync_listings
from ingest.writer import status_event

LIMIT = 500

_log = structlog.get_logger()


async def always(_: timedelta) -> bool:
    return True


async def watch(
    pool: Pool,
    offline_after: timedelta,
    rules: SellingRules = DEFAULT_RULES,
    *,
    is_heard: Callable[[timedelta], Awaitable[bool]] = always,
    every_s: float = 1.0,
    monotonic_s: Callable[[], float] = monotonic,
    clock: Clock = REAL_TIME,
) -> None:
    """Look around until cancelled. Several ingesters may: each takes what no other holds.

    Silence counts from when we listened: a hub that was down, or whose database was, has all the
    broker kept for it to hear first, and must not pause the whole market meanwhile. `is_heard`:
    whether all that devices say has been read for so long, by whom it may be.
    """
    listening_since = monotonic_s()
    while True:
        try:
            silent_s = clock.real_s(offline_after)
            listened = monotonic_s() - listening_since >= silent_s
            if listened and await is_heard(timedelta(seconds=silent_s)):
                while await mark_silent_offline(pool, offline_after, rules, clock) == LIMIT:
                    pass
            while await expire_listings(pool) == LIMIT:
                pass
        except database_errors() as error:
            listening_since = monotonic_s()
            _log.warning("presence_not_checked", error=type(error).__name__)
        await asyncio.sleep(every_s)


async def mark_silent_offline(
    pool: Pool,
    offline_after: timedelta,
    rules: SellingRules = DEFAULT_RULES,
    clock: Clock = REAL_TIME,
) -> int:
    """Take devices offline that were silent for too long, and pause what follows them.

    Returns how many there were this time.
    """

    async def take_offline(device_ids: Sequence[DeviceId]) -> int:
        async with pool.acquire() as conn, conn.transaction():
            silent = await device_states.lock_silent(conn, offline_after, device_ids)
            if silent:
                await _take_offline(conn, silent, rules, clock.now())
            return len(silent)

    silent = await device_states.silent(pool, offline_after, LIMIT)
    return await each_by_itself(pool, Queue.PRESENCE, silent, take_offline) if silent else 0


async def expire_listings(pool: Pool) -> int:
    """Close listings whose window has passed. Returns how many there were this time."""

    async def expire(listing_ids: Sequence[ListingId]) -> int:
        async with pool.acquire() as conn, conn.transaction():
            return await listing_adjustments.expire(conn, listing_ids)

    overdue = await listing_adjustments.overdue(pool, LIMIT)
    return await each_by_itself(pool, Queue.EXPIRY, overdue, expire) if overdue else 0


async def _take_offline(
    conn: Connection, silent: Sequence[DeviceId], rules: SellingRules, now: datetime
) -> None:
    states = await device_states.lock(conn, silent)
    for state in states.values():
        state.status = DeviceStatus.OFFLINE
    await device_states.save(conn, list(states.values()))
    await sync_listings(conn, states, [], now, rules)
    await outbox.add(conn, [status_event(state) for state in states.values()])
