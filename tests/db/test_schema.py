"""Migrations may run repeatedly, and from several hosts at once."""

import asyncio
import re
from pathlib import Path

from core.settings import DatabaseSettings
from core.units import BALANCE_MAX
from db import migrations, schema
from db.migrations import functions
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


async def test_a_database_reports_its_revision(
    empty_database: DatabaseSettings, conn: Connection
) -> None:
    async with open_connection(empty_database, application_name="test") as unmigrated:
        assert await schema.current_revision(unmigrated) is None
    assert await schema.current_revision(conn) == schema.newest_revision()


MIGRATIONS = Path(migrations.__file__).parent


def test_revisions_run_every_file_of_the_schema() -> None:
    revisions = [path.read_text("utf-8") for path in (MIGRATIONS / "versions").glob("*.py")]
    named = re.findall(r"\w+", " ".join(revisions))
    unused = [path.stem for path in MIGRATIONS.glob("schema/*.sql") if path.stem not in named]
    assert unused == []


def test_each_function_has_a_file_that_defines_it_alone_and_can_run_again() -> None:
    files = {path.stem: path.read_text("utf-8") for path in MIGRATIONS.glob("functions/*.sql")}
    assert sorted(files) == sorted(functions.ALL)
    for name, text in files.items():
        defined = re.findall(r"CREATE OR REPLACE FUNCTION (\w+)", text)
        assert set(defined) == {name}
        assert not re.search(r"CREATE (FUNCTION|TRIGGER)", text), name


async def test_functions_run_again_on_a_filled_database(conn: Connection) -> None:
    for name in functions.ALL:
        await conn.execute((MIGRATIONS / "functions" / f"{name}.sql").read_text("utf-8"))


async def test_the_database_has_the_limit_of_a_balance_that_the_code_has(conn: Connection) -> None:
    assert await conn.fetchval("SELECT balance_max()") == BALANCE_MAX
