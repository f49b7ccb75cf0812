"""Who may act is asked of the database for all who wait to know."""

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
_LOCK_OUT = "UPDATE users SET is_active = false WHERE id = $1"


@pytest.fixture
async def asked(database: DatabaseSettings) -> AsyncIterator[Pool]:
    """Connections that nothing but the admission uses."""
    async with open_pool(database, application_name="test") as pool:
        yield pool


@asynccontextmanager
async def question_out(
    admission: ActiveUserLookup, conn: Connection, person: Person
) -> AsyncIterator[tuple[asyncio.Task[bool], int]]:
    """A question that the database can't answer before the block ends, and who works on it."""
    assert await admission.is_active(person.id)
    async with conn.transaction():
        await conn.execute("LOCK TABLE users")
        asking = asyncio.create_task(admission.is_active(person.id))
        yield asking, await eventually(partial(conn.fetchval, _WAITING))


async def test_who_is_locked_out_while_a_question_is_out_does_not_get_in_by_it(
    asked: Pool, conn: Connection
) -> None:
    gone, here = await add_user(conn), await add_user(conn)
    async with open_active_user_lookup(asked) as admission:
        async with question_out(admission, conn, gone):
            await conn.execute(_LOCK_OUT, gone.id)
            people = [gone, here] * 20
            waiting = [asyncio.create_task(admission.is_active(person.id)) for person in people]
        assert await asyncio.gather(*waiting) == [False, True] * 20
    assert asked.get_size() == 1


async def test_who_waits_is_told_of_a_failure_and_the_next_question_is_asked(
    asked: Pool, conn: Connection
) -> None:
    person = await add_user(conn)
    async with open_active_user_lookup(asked) as admission:
        async with question_out(admission, conn, person) as (asking, pid):
            waiting = asyncio.create_task(admission.is_active(person.id))
            await conn.execute("SELECT pg_terminate_backend($1)", pid)
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await asking
        assert await waiting


async def test_who_stops_waiting_leaves_the_others_their_answer(
    asked: Pool, conn: Connection
) -> None:
    person = await add_user(conn)
    async with open_active_user_lookup(asked) as admission:
        async with question_out(admission, conn, person) as (asking, _):
            asking.cancel()
            waiting = asyncio.create_task(admission.is_active(person.id))
            with pytest.raises(asyncio.CancelledError):
                await asking
        assert await waiting
        assert await admission.is_active(person.id)
