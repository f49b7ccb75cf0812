"""The timer that takes silent devices offline, and closes listings whose window has passed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic

import structlog

from core.clock import REAL_TIME, Clock
from core.enums import DeviceStatus, Queue
from core.ids import DeviceId
from core.selling import DEFAULT_RULES, SellingRules
from db import device_states, outbox
from db.errors import database_errors
from db.pool import Connection, Pool
from ingest.isolation import isolating_failures
from ingest.listing_sync import EXPIRE_MAX, expire_listings, sync_listings
from ingest.writer import status_event

# Devices per transaction, so that it holds its locks only briefly.
OFFLINE_MAX = 500

_log = structlog.get_logger()


async def always(_: timedelta) -> bool:
    """Return True, for an ingester that alone receives all messages."""
    return True


async def watch(
    pool: Pool,
    offline_after: timedelta,
    rules: SellingRules = DEFAULT_RULES,
    *,
    is_receiving: Callable[[timedelta], Awaitable[bool]] = always,
    every_s: float = 1.0,
    monotonic_s: Callable[[], float] = monotonic,
    clock: Clock = REAL_TIME,
) -> None:
    """Check devices and listings until cancelled.

    Several ingesters may do so at once: each one skips what another has locked. `is_receiving`
    returns whether all devices' messages have been received for that long, by any ingester.

    Silence counts only from when this process could store messages. After an outage of the hub or
    the database, the broker first sends what it has queued: until then no device is silent, and
    the listings of the whole market must not be paused.
    """
    receiving_since = monotonic_s()
    while True:
        try:
            silent_s = clock.real_s(offline_after)
            was_receiving = monotonic_s() - receiving_since >= silent_s
            if was_receiving and await is_receiving(timedelta(seconds=silent_s)):
                while (
                    await take_silent_devices_offline(pool, offline_after, rules, clock)
                    == OFFLINE_MAX
                ):
                    pass
            while await expire_listings(pool) == EXPIRE_MAX:
                pass
        except database_errors() as error:
            receiving_since = monotonic_s()
            _log.warning("presence_not_checked", error=type(error).__name__)
        await asyncio.sleep(every_s)


async def take_silent_devices_offline(
    pool: Pool,
    offline_after: timedelta,
    rules: SellingRules = DEFAULT_RULES,
    clock: Clock = REAL_TIME,
) -> int:
    """Take some of the devices offline that were silent for that long, and return how many.

    Listings that follow them are paused.
    """

    async def take_offline(device_ids: Sequence[DeviceId]) -> int:
        async with pool.acquire() as conn, conn.transaction():
            # Checked once more under the lock: a reading may have been stored meanwhile.
            silent = await device_states.lock_silent(conn, offline_after, device_ids)
            if silent:
                await _take_offline(conn, silent, rules, clock.now())
            return len(silent)

    async with pool.acquire() as conn:
        silent = await device_states.silent(conn, offline_after, OFFLINE_MAX)
    return await isolating_failures(pool, Queue.PRESENCE, silent, take_offline) if silent else 0


async def _take_offline(
    conn: Connection, silent: Sequence[DeviceId], rules: SellingRules, now: datetime
) -> None:
    """Take locked devices offline. Lock order: device states by id, then listings by id."""
    states = await device_states.lock(conn, silent)
    for state in states.values():
        state.status = DeviceStatus.OFFLINE
    await device_states.save(conn, list(states.values()))
    await sync_listings(conn, states, [], now, rules)
    await outbox.add(conn, [status_event(state) for state in states.values()])
