"""Re-accounting of devices beside the batches, for late readings that change too much for a batch.

An ingester accounts one device at a time, and no two ingesters the same. A thread folds the pages
and pauses after every 100 readings, so that the event loop waits for a few milliseconds at most. No
row is locked meanwhile: batches still store readings, and late ones wait for the next time. One
transaction at the end, under the lock of the device's state, writes the result. An ingester that is
killed before has changed nothing. If the waiting changes, or the device's capacity or terms, have
changed meanwhile, the device is accounted anew. A device that fails because of its data is retried
later, and set aside after some tries, so that the others do not wait.
"""

import asyncio
import time

import structlog

from core.clock import REAL_TIME, Clock
from core.enums import Queue
from core.ids import DeviceId
from core.selling import DEFAULT_RULES, SellingRules
from core.settings import DatabaseSettings
from db import device_states, failed_items, locks, roles, unaccounted
from db.device_states import DeviceState
from db.errors import database_errors
from db.locks import AdvisoryLock
from db.pool import Connection, Pool, open_connection
from ingest.isolation import may_be_caused_by_item, record_failure
from ingest.listing_sync import sync_listings
from ingest.metrics import IngestMetrics
from ingest.reaccounting import LIMITS, DeviceReaccounting, Limits, NotedChanges, ReaccountingPage

_EVERY_S = 0.05
_IDLE_S = 0.5
_AFTER_ERROR_S = 2.0
_REST_S = 0.001
# The table of waiting changes is counted as a whole, so not too often.
_COUNT_EVERY_S = 5.0

_log = structlog.get_logger()


class _Outdated(Exception):
    """The device's changes, capacity or terms have changed since the fold began: it is useless."""


async def watch(
    pool: Pool,
    settings: DatabaseSettings,
    rules: SellingRules,
    metrics: IngestMetrics,
    clock: Clock = REAL_TIME,
) -> None:
    """Account devices again until cancelled. Several ingesters may do so at the same time."""
    while True:
        try:
            accounted = 0
            if await _is_any(pool):
                accounted = await _account_all(settings, rules, metrics, clock)
            # No device could be accounted: wait, instead of retrying at once.
            await asyncio.sleep(_EVERY_S if accounted else _IDLE_S)
        except database_errors() as error:
            _log.warning("late_readings_not_accounted", error=type(error).__name__)
            await asyncio.sleep(_AFTER_ERROR_S)


async def measure(pool: Pool, metrics: IngestMetrics, *, every_s: float = _COUNT_EVERY_S) -> None:
    """Report how many late readings wait, until cancelled. Every ingester reports the same."""
    while True:
        try:
            async with pool.acquire() as conn:
                metrics.late_readings_waiting.set(await unaccounted.count(conn))
        except database_errors() as error:
            _log.warning("late_readings_not_counted", error=type(error).__name__)
        await asyncio.sleep(every_s)


async def _is_any(pool: Pool) -> bool:
    async with pool.acquire() as conn:
        return await _next_device(conn, None) is not None


async def _account_all(
    settings: DatabaseSettings, rules: SellingRules, metrics: IngestMetrics, clock: Clock
) -> int:
    """Account all devices on a connection of its own, whose end also ends a device's lock."""
    async with open_connection(
        settings, application_name="ingest-late", role=roles.INGEST, has_timeout=True
    ) as conn:
        accounted = await account_all(conn, rules=rules, clock=clock)
    metrics.reaccounted.inc(accounted)
    return accounted


async def account_all(
    conn: Connection,
    limits: Limits = LIMITS,
    rules: SellingRules = DEFAULT_RULES,
    clock: Clock = REAL_TIME,
) -> int:
    """Account each device with waiting changes once. Return the number of accounted devices.

    Devices that failed are skipped until they are due to be retried.
    """
    accounted, device_id = 0, await _next_device(conn, None)
    while device_id is not None:
        if await locks.try_lock_device(conn, AdvisoryLock.REACCOUNTING, device_id):
            accounted += await _account_or_record(conn, device_id, rules, limits, clock)
            await locks.unlock_device(conn, AdvisoryLock.REACCOUNTING, device_id)
        device_id = await _next_device(conn, device_id)
    return accounted


async def _next_device(conn: Connection, after: DeviceId | None) -> DeviceId | None:
    """Return the next device after one (None: the first) with waiting changes that are due."""
    skipped = await failed_items.not_due(conn, Queue.LATE_READINGS)
    device_id = await unaccounted.next_device(conn, after)
    while device_id is not None and str(device_id) in skipped:
        device_id = await unaccounted.next_device(conn, device_id)
    return device_id


async def _account_or_record(
    conn: Connection, device_id: DeviceId, rules: SellingRules, limits: Limits, clock: Clock
) -> bool:
    """Account a device, and record a failure that its data may cause."""
    try:
        accounted = await _account(conn, device_id, rules, limits, clock)
    except _Outdated:
        _log.info("late_readings_outdated", device_id=str(device_id))
        return False
    except database_errors(ArithmeticError) as error:
        if not may_be_caused_by_item(error):
            raise
        await record_failure(conn, Queue.LATE_READINGS, device_id, error)
        return False
    await failed_items.forget(conn, Queue.LATE_READINGS, [device_id])
    return accounted


async def _account(
    conn: Connection, device_id: DeviceId, rules: SellingRules, limits: Limits, clock: Clock
) -> bool:
    """Account a device with its waiting changes. Return False if there are none.

    Raises _Outdated.
    """
    async with conn.transaction():
        state = await _locked(conn, device_id)
        span = await unaccounted.span(conn, device_id)
    if state is None or span is None:
        return False
    changes = NotedChanges(device_id, span.first_at, span.last_id)
    work = DeviceReaccounting(state, changes)
    page = await work.begin(conn, limits.first_page)
    assert state.account is not None
    while True:
        await asyncio.to_thread(_fold, work, page)
        if work.is_done(page, state.account) and await _finish(
            conn, work, changes, rules, limits, clock
        ):
            return True
        page = await work.load(conn, limits.page)


def _fold(work: DeviceReaccounting, page: ReaccountingPage) -> None:
    """Fold a page in a thread, and sleep after each part: yielding alone gives no other a turn."""
    for _ in work.fold(page):
        time.sleep(_REST_S)


async def _finish(
    conn: Connection,
    work: DeviceReaccounting,
    changes: NotedChanges,
    rules: SellingRules,
    limits: Limits,
    clock: Clock,
) -> bool:
    """Write the result. Return False if too much was stored meanwhile. Raises _Outdated."""
    async with conn.transaction():
        state = await _locked(conn, changes.device_id)
        if state is None or state.account is None or not work.is_accounted_as(state):
            raise _Outdated
        if work.until is None:
            page = await work.load(conn, limits.first_page)
            for _ in work.fold(page):
                pass
            if not work.is_done(page, state.account):
                return False
        elif not work.is_settled(state.account):
            return False
        settled = await unaccounted.settle(conn, changes.device_id, changes.last_id, work.until)
        if settled != work.changed:
            raise _Outdated
        surplus_changes = await work.write(conn, state)
        await sync_listings(conn, {state.device_id: state}, surplus_changes, clock.now(), rules)
        await device_states.save(conn, [state])
    return True


async def _locked(conn: Connection, device_id: DeviceId) -> DeviceState | None:
    """Lock and return the state, also of a removed device: its readings are accounted too."""
    return (await device_states.lock(conn, [device_id], removed=True)).get(device_id)
