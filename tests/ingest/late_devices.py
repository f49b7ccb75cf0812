"""Devices with long histories and late readings, as tests of re-accounting use them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from asyncpg.connection import LoggedQuery

from core.accounting import advance
from core.readings import Reading
from core.settings import DatabaseSettings
from db import intervals
from db.pool import Connection, Pool
from ingest.reaccounting import Limits
from ingest.writer import write
from tests.ingest.world import add_device, add_following_listing, counting, detailed
from tests.support.audits import failed_checks
from tests.support.meters import CAPACITY_W, NOON

HORIZON = timedelta(days=31)
RECEIVED_AT = NOON + timedelta(days=20)
MINUTE = timedelta(minutes=1)
# Nothing is accounted in a batch, and a page holds a few readings.
WAITING = Limits(in_batch=0, first_page=3, page=7)
COUNT_WAITING = "SELECT count(*) FROM unaccounted_readings"


async def store(
    pool: Pool, device: UUID, readings: Sequence[Reading], limits: Limits = WAITING
) -> None:
    """Write readings of a device as the ingester does, at most 500 in a batch."""
    for n in range(0, len(readings), 500):
        message = detailed(device, *readings[n : n + 500], received_at=RECEIVED_AT)
        await write(pool, [message], HORIZON, limits=limits)


async def check(
    pool: Pool, database: DatabaseSettings, device: UUID, history: Sequence[Reading]
) -> None:
    """Check that the device's intervals are those of these readings, and that the audit passes."""
    in_order = advance(None, sorted(history, key=time_of), CAPACITY_W)
    assert in_order is not None
    async with pool.acquire() as conn:
        assert await intervals.between(conn, device) == in_order.intervals
        assert await failed_checks(conn, database) == []


def time_of(reading: Reading) -> datetime:
    assert reading.time is not None
    return reading.time


def days(count: int, every: timedelta = 5 * MINUTE) -> list[Reading]:
    """Return readings of a counter every few minutes, which rises at every third of them."""
    values = (100_000 + 20 * (n // 3) for n in range(int(count * timedelta(days=1) / every)))
    return counting(NOON, values, every)


async def device_with(pool: Pool, readings: Sequence[Reading]) -> UUID:
    """Add a device with a listing that follows it, and these readings."""
    device = await add_device(pool, CAPACITY_W)
    await add_following_listing(pool, device, NOON - timedelta(hours=1))
    await store(pool, device, readings)
    return device


class QueryLog:
    """The queries of a connection."""

    def __init__(self, conn: Connection) -> None:
        self.queries: list[LoggedQuery] = []
        conn.add_query_logger(self.queries.append)

    @property
    def pages(self) -> list[int]:
        """The maximum number of readings of each page that was loaded."""
        return [
            q.args[3] for q in self.queries if "FROM telemetry" in q.query and "LIMIT $4" in q.query
        ]
