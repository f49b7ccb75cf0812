"""Shortages of a database server: writes to a table fail as with a full disk or memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from db.pool import Pool

DISK_FULL = "53100"

_REFUSE = """
CREATE FUNCTION lacks_something() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'could not extend file "base/1/2": No space left on device'
        USING ERRCODE = TG_ARGV[0];
END $$;
CREATE TRIGGER lacks_something BEFORE {change} ON {table}
    FOR EACH ROW EXECUTE FUNCTION lacks_something('{sqlstate}');
"""


@asynccontextmanager
async def lacking(
    pool: Pool, table: str, sqlstate: str = DISK_FULL, *, change: str = "INSERT"
) -> AsyncIterator[None]:
    """Let such a change of the table fail with a SQLSTATE until the block ends."""
    await pool.execute(_REFUSE.format(table=table, sqlstate=sqlstate, change=change))
    try:
        yield
    finally:
        await pool.execute("DROP FUNCTION lacks_something CASCADE")
