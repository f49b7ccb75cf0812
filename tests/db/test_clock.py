"""The hub's time in SQL, and the rule that no statement asks PostgreSQL for the time instead."""

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import db
from core.clock import REAL_TIME, Clock, real_now
from core.settings import DatabaseSettings
from db.clock import latest, set_clock
from db.pool import Connection, open_connection
from tests.support.people import add_user

_FOLDER = Path(db.__file__).parent
_ASKS_FOR_THE_TIME = re.compile(
    r"\b(now|(clock|statement|transaction)_timestamp|timeofday)\s*\(\s*\)"
    r"|\b(current_(timestamp|date|time)|localtime(stamp)?)\b|'(now|today|tomorrow|yesterday)'",
    re.IGNORECASE,
)
# An item that failed is retried in real time, whatever the hub's time is.
_OF_RETRIES = re.compile(r".*\bretry_at\b.*\n")
# Statements that may use the real time: the world outside the hub decides what they compare.
_REAL_TIME = {
    "failed_items.py": "retries",
    "flow.py": "throughput",
    "idempotency.py": "retries of clients",
    "ingest_sessions.py": "leases of ingesters",
    "ingesters.py": "leases of ingesters",
    "live_readings.py": "throughput",
    "outbox.py": "latency from commit to socket",
    "sign_ins.py": "credentials",
    "migrations/functions/hub_clock_timestamp.sql": "the clock itself",
    "migrations/functions/hub_now.sql": "the clock itself",
}
# Columns whose default may be the real time.
_REAL_TIME_COLUMNS = {
    "failed_items.failed_at": "retries",
    "flow_samples.time": "throughput",
    "idempotency_keys.created_at": "retries of clients",
    "ingesters.seen_at": "leases of ingesters",
    "outbox.created_at": "latency from commit to socket",
    "refresh_tokens.created_at": "credentials",
}
_DEFAULTS = """
SELECT c.relname || '.' || a.attname, pg_get_expr(d.adbin, d.adrelid)
  FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid
  JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
 WHERE c.relnamespace = current_schema()::regnamespace
"""
_NOW = "SELECT now(), hub_now(), clock_timestamp(), hub_clock_timestamp()"
_TOLERANCE = timedelta(seconds=10)


def test_no_statement_asks_for_the_time_but_through_the_hub_s_clock() -> None:
    """Use hub_now() or hub_clock_timestamp(), so that a demonstration may run faster.

    A statement about credentials, leases, retries or latency may use the real time: add it above.
    """
    asking = {name for name, text in _sql() if _ASKS_FOR_THE_TIME.search(_OF_RETRIES.sub("", text))}
    assert asking == set(_REAL_TIME)


def _sql() -> Iterator[tuple[str, str]]:
    # Without migrations/schema: what these files leave behind are the defaults of columns.
    for path in _FOLDER.glob("migrations/functions/*.sql"):
        yield str(path.relative_to(_FOLDER)), re.sub("--.*", "", path.read_text("utf-8"))
    for path in _FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                yield str(path.relative_to(_FOLDER)), f"{node.value.value}\n"


async def test_columns_get_their_times_from_the_hub_s_clock(conn: Connection) -> None:
    """A new column with `DEFAULT now()` gets `hub_now()`, or a line above that says why not."""
    defaults = dict(await conn.fetch(_DEFAULTS))
    assert "hub_now()" in defaults["users.created_at"]
    asking = {name for name, default in defaults.items() if _ASKS_FOR_THE_TIME.search(default)}
    assert asking == set(_REAL_TIME_COLUMNS)


async def test_a_database_shows_the_real_time_by_default(database: DatabaseSettings) -> None:
    async with open_connection(database, application_name="test") as conn:
        real, hub, real_clock, hub_clock = await conn.fetchrow(_NOW)
    assert real == hub
    assert real_clock <= hub_clock <= real_clock + _TOLERANCE


async def test_every_later_connection_shows_the_clock_that_was_set(
    database: DatabaseSettings,
) -> None:
    clock = Clock.starting(real_now() - timedelta(days=28), speed=240)
    async with open_connection(database, application_name="test") as conn:
        await set_clock(conn, clock)
    async with open_connection(database, application_name="test") as conn:
        real, hub, real_clock, hub_clock = await conn.fetchrow(_NOW)
        assert abs(clock.at(real) - hub) < timedelta(milliseconds=1)
        assert clock.at(real_clock) <= hub_clock < clock.now()
        await set_clock(conn, REAL_TIME)
    async with open_connection(database, application_name="test") as conn:
        real, hub, *_ = await conn.fetchrow(_NOW)
        assert real == hub


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(hours=1), timedelta(days=60)])
async def test_sql_computes_the_same_time_as_python(
    database: DatabaseSettings, ahead: timedelta
) -> None:
    clock = Clock(datetime(2026, 3, 1, 12, 0, 0, 125, tzinfo=UTC), timedelta(days=28), 287.5)
    real = clock.since + ahead
    async with open_connection(database, application_name="test") as conn:
        shown = await conn.fetchval("SELECT hub_time($1, $2)", real, str(clock))
    assert abs(shown - clock.at(real)) < timedelta(milliseconds=1)


async def test_what_happens_gets_the_time_of_the_hub_s_clock(database: DatabaseSettings) -> None:
    clock = Clock(real_now(), timedelta(days=28))
    async with open_connection(database, application_name="test") as conn:
        assert await latest(conn) is None
        await set_clock(conn, clock)
    async with open_connection(database, application_name="test") as conn:
        await add_user(conn, "host")
        at = await latest(conn)
        assert at is not None
        assert abs(at - clock.now()) < _TOLERANCE
