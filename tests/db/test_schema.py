"""The schema comes up to date however often, and from however many hosts at once, it is asked."""

import asyncio

from core.settings import DatabaseSettings
from db import schema
from db.pool import Connection, open_connection


async def test_migrating_twice_changes_nothing_the_second_time(
    empty_database: DatabaseSettings,
) -> None:
    newest = schema.newest_revision()
    assert await schema.migrate(empty_database) == (None, newest)
    assert await schema.migrate(empty_database) == (newest, newest)


async def test_two_hosts_may_migrate_at_once(empty_database: DatabaseSettings) -> None:
    newest = schema.newest_revision()
    outcomes = await asyncio.gather(*(schema.migrate(empty_database) for _ in range(2)))
    assert sorted(outcomes, key=str) == sorted([(None, newest), (newest, newest)], key=str)


async def test_a_database_tells_its_revision(
    empty_database: DatabaseSettings, conn: Connection
) -> None:
    async with open_connection(empty_database, application_name="test") as unmigrated:
        assert await schema.current_revision(unmigrated) is None
    assert await schema.current_revision(conn) == schema.newest_revision()
