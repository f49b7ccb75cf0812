"""Upgrades: a filled database of each released revision reaches the newest one with its data.

A new revision is covered as soon as it exists. If it adds a table, add `filled/<revision>.sql` with
rows for that table. Files of earlier revisions stay as they are: schema changes are additive.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from core.settings import DatabaseSettings
from db import schema
from db.errors import UnknownRevision
from db.pool import Connection, open_connection
from tests.support.hubs import run
from tests.support.ledger import amiss

FILLED = Path(__file__).parent / "filled"

_TABLES = """
SELECT relname::text FROM pg_class
 WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
   AND relname <> 'alembic_version'
 ORDER BY relname
"""

# Rows as JSON: a later revision may add columns, which a comparison has to leave out.
_ROWS = "SELECT to_jsonb(t) FROM {} t"

Rows = dict[str, list[dict[str, Any]]]


async def upgrade(database: DatabaseSettings, revision: str) -> None:
    """Upgrade the schema alone: grants exist for the newest one only."""
    url = database.database_url.replace("postgresql://", "postgresql+asyncpg://", 1)
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as conn:
            await conn.run_sync(schema.upgrade, revision)
    finally:
        await engine.dispose()


async def fill(conn: Connection, revision: str) -> None:
    """Insert the data of every revision up to this one."""
    async with conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica")
        for path in sorted(FILLED.glob("*.sql")):
            if path.stem <= revision:
                await conn.execute(path.read_text("utf-8"))


async def rows_of(conn: Connection) -> Rows:
    tables = [row[0] for row in await conn.fetch(_TABLES)]
    return {name: [row[0] for row in await conn.fetch(_ROWS.format(name))] for name in tables}


def like(rows: Rows, earlier: Rows) -> Rows:
    """Return the tables and columns that an earlier revision had, in the order of their rows."""
    return {
        name: sorted(
            ({key: row[key] for key in earlier[name][0]} for row in rows[name]), key=str
        )
        for name in earlier
    }  # fmt: skip


@pytest.mark.parametrize("revision", schema.revisions())
async def test_an_upgrade_keeps_all_data_and_the_audit_finds_nothing(
    empty_database: DatabaseSettings, revision: str
) -> None:
    await upgrade(empty_database, revision)
    async with open_connection(empty_database, application_name="test") as conn:
        await fill(conn, revision)
        before = await rows_of(conn)
    assert [name for name, rows in before.items() if not rows] == [], "tables without test data"

    assert await schema.migrate(empty_database) == (revision, schema.newest_revision())
    async with open_connection(empty_database, application_name="test") as conn:
        assert like(await rows_of(conn), before) == like(before, before)
        assert await amiss(conn, empty_database) == {}


def test_revisions_form_one_line_in_the_order_of_their_numbers() -> None:
    assert schema.revisions() == sorted(schema.revisions())
    assert schema.revisions()[0] == "0100"


@pytest.mark.parametrize(
    ("revision", "remedy"),
    [
        ("0021", "before the first release .*another --data directory"),
        ("9999", f"its newest is {schema.newest_revision()}.* run the version that migrated"),
    ],
)
async def test_a_database_of_an_unknown_revision_is_left_alone_and_the_remedy_named(
    database: DatabaseSettings, conn: Connection, revision: str, remedy: str
) -> None:
    await conn.execute("UPDATE alembic_version SET version_num = $1", revision)
    with pytest.raises(UnknownRevision, match=f"revision {revision}, .*{remedy}"):
        await schema.migrate(database)
    assert await schema.current_revision(conn) == revision


async def test_the_command_names_the_revision_and_the_remedy_in_one_line(
    database: DatabaseSettings, conn: Connection
) -> None:
    await conn.execute("UPDATE alembic_version SET version_num = '0021'")
    for command in ("migrate", "doctor"):
        done = await asyncio.to_thread(run, command, SOLARHUB_DATABASE_URL=database.database_url)
        assert done.returncode == 1
        assert "Traceback" not in done.stdout + done.stderr
        (line,) = [x for x in (done.stdout + done.stderr).splitlines() if "revision 0021" in x]
        assert "start with an empty database" in line
