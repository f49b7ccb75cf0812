"""The schema comes up to date however often, and from however many hosts at once, it is asked."""

import asyncio
import re
from pathlib import Path

from core.settings import DatabaseSettings
from core.units import BALANCE_MAX
from db import migrations, schema
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


def test_the_first_revision_runs_every_file_of_the_schema() -> None:
    directory = Path(migrations.__file__).parent
    first = (directory / "versions" / "0100_first_schema.py").read_text("utf-8")
    named = re.findall(r"\w+", first)
    unused = [path.stem for path in directory.rglob("schema/**/*.sql") if path.stem not in named]
    assert unused == []


def test_each_file_of_a_function_defines_it_alone() -> None:
    for path in (Path(migrations.__file__).parent / "schema" / "functions").glob("*.sql"):
        defined = re.findall(r"CREATE FUNCTION (\w+)", path.read_text("utf-8"))
        assert set(defined) == {path.stem}, path


async def test_the_database_has_the_limit_of_a_balance_that_the_code_has(conn: Connection) -> None:
    assert await conn.fetchval("SELECT balance_max()") == BALANCE_MAX
