"""A deactivated user loses the feed, at sign-in and on an open connection."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from core.settings import DatabaseSettings
from db.pool import Pool, open_connection
from tests.realtime.announcing import announce, listing_event
from tests.realtime.client import open_client, token
from tests.support.databases import url_of
from tests.support.people import add_user
from tests.support.waiting import eventually

_DEACTIVATE = "UPDATE users SET is_active = false WHERE id = $1"
_CUT_OFF_HUBS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE application_name = 'solarhub-realtime' AND datname = $1
"""


async def gone(pool: Pool) -> UUID:
    return uuid4()


async def deactivated(pool: Pool) -> UUID:
    user_id = (await add_user(pool)).id
    await pool.execute(_DEACTIVATE, user_id)
    return user_id


@pytest.mark.parametrize("stranger", [gone, deactivated])
async def test_who_is_not_active_is_not_let_in(
    feed: str, pool: Pool, stranger: Callable[[Pool], Awaitable[UUID]]
) -> None:
    async with open_client(feed, sign_in=False) as client:
        await client.say(op="auth", token=token(await stranger(pool)))
        assert await client.close_code() == 4401


async def test_who_is_deactivated_is_shown_out_everywhere_and_nobody_else_is(
    feed: str, pool: Pool
) -> None:
    user_id = (await add_user(pool)).id
    async with AsyncExitStack() as stack:
        theirs = [await stack.enter_async_context(open_client(feed, user_id)) for _ in range(3)]
        neighbour = await stack.enter_async_context(open_client(feed))
        await neighbour.subscribe("listings")
        await pool.execute(_DEACTIVATE, user_id)
        assert [await client.close_code() for client in theirs] == [4401] * 3
        await announce(pool, listing_event(uuid4()))
        assert (await neighbour.event())["channel"] == "listings"


async def test_a_fresh_token_does_not_help_who_is_deactivated(feed: str, pool: Pool) -> None:
    user_id = (await add_user(pool)).id
    async with open_client(feed, user_id) as client:
        await pool.execute(_DEACTIVATE, user_id)
        await client.say(op="auth", token=token(user_id))
        assert await client.close_code() == 4401


@asynccontextmanager
async def hubs_cut_off(database: DatabaseSettings) -> AsyncIterator[None]:
    """Hubs are put out of the database, and nobody is let in."""
    url = urlsplit(database.database_url)
    name = url.path.removeprefix("/")
    elsewhere = DatabaseSettings(database_url=url_of(database.database_url, "postgres"))
    async with open_connection(elsewhere, application_name="test") as conn:
        await conn.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            await conn.fetch(_CUT_OFF_HUBS, name)
            yield
        finally:
            await conn.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


async def test_without_the_database_nobody_is_let_in_and_nobody_is_sent_away(
    feed: str, pool: Pool, database: DatabaseSettings
) -> None:
    user_id = (await add_user(pool)).id
    async with open_client(feed) as inside, open_client(feed, user_id) as deactivated:
        await inside.subscribe("listings")
        with capture_logs() as logs:
            async with hubs_cut_off(database):
                async with open_client(feed, sign_in=False) as late:
                    await late.say(op="auth", token=token())
                    assert await late.close_code() == 4500
                await eventually(lambda: "active_users_not_checked" in {e["event"] for e in logs})
                await inside.sign_in()
                await deactivated.sign_in(user_id)
        await pool.execute(_DEACTIVATE, user_id)
        assert await deactivated.close_code() == 4401
        await announce(pool, listing_event(uuid4()))
        assert (await inside.event())["channel"] == "listings"
