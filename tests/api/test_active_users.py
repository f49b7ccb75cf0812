"""The lookup of active users: one query for all requests that wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import asyncpg
import pytest

from api.http.authorization import ActiveUserLookup, open_active_user_lookup
from core.settings import DatabaseSettings
from db.pool import Connection, Pool, open_pool
from tests.support.people import Person, add_user
from tests.support.waiting import eventually

_WAITING = """
SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""
_DEACTIVATE = "UPDATE users SET is_active = false WHERE id = $1"


@pytest.fixture
async def lookup_pool(database: DatabaseSettings) -> AsyncIterator[Pool]:
    """A pool that only the lookup uses."""
    async with open_pool(database, application_name="test") as pool:
        yield pool


@asynccontextmanager
async def blocked_query(
    lookup: ActiveUserLookup, conn: Connection, person: Person
) -> AsyncIterator[tuple[asyncio.Task[bool], int]]:
    """Block a query until the end. Yields the task that waits for it, and its backend's pid."""
    assert await lookup.is_active(person.id)
    async with conn.transaction():
        await conn.execute("LOCK TABLE users")
        waiter = asyncio.create_task(lookup.is_active(person.id))
        yield waiter, await eventually(partial(conn.fetchval, _WAITING))


async def test_a_user_deactivated_during_a_query_is_refused_by_the_next(
    lookup_pool: Pool, conn: Connection
) -> None:
    inactive, active = await add_user(conn), await add_user(conn)
    async with open_active_user_lookup(lookup_pool) as lookup:
        async with blocked_query(lookup, conn, inactive):
            await conn.execute(_DEACTIVATE, inactive.id)
            people = [inactive, active] * 20
            waiting = [asyncio.create_task(lookup.is_active(person.id)) for person in people]
        assert await asyncio.gather(*waiting) == [False, True] * 20
    assert lookup_pool.get_size() == 1


async def test_a_failed_query_raises_in_its_requests_and_the_next_runs(
    lookup_pool: Pool, conn: Connection
) -> None:
    person = await add_user(conn)
    async with open_active_user_lookup(lookup_pool) as lookup:
        async with blocked_query(lookup, conn, person) as (waiter, pid):
            waiting = asyncio.create_task(lookup.is_active(person.id))
            await conn.execute("SELECT pg_terminate_backend($1)", pid)
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await waiter
        assert await waiting


async def test_a_cancelled_request_leaves_the_answer_to_the_others(
    lookup_pool: Pool, conn: Connection
) -> None:
    person = await add_user(conn)
    async with open_active_user_lookup(lookup_pool) as lookup:
        async with blocked_query(lookup, conn, person) as (waiter, _):
            waiter.cancel()
            waiting = asyncio.create_task(lookup.is_active(person.id))
            with pytest.raises(asyncio.CancelledError):
                await waiter
        assert await waiting
        assert await lookup.is_active(person.id)
