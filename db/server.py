"""Facts about the database server: its version and extensions, and the state of its disk."""

from dataclasses import dataclass

from db.pool import Connection

# The oldest major version that the tests pass on and that the documentation names.
POSTGRESQL_MIN = 16

_DESCRIBE = """
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer / 10000 AS major,
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescaledb
"""

_LITTLE_MEMORY = "SELECT set_config('work_mem', '64kB', true)"

# Sorting half a megabyte with 64 kB of memory writes a temporary file.
_SORT_ON_DISK = """
SELECT max(length(filler)) FROM (
    SELECT repeat('x', 250) AS filler FROM generate_series(1, 2000) AS n ORDER BY n DESC OFFSET 0
) AS sorted
"""


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """The versions of a database server."""

    version: str
    major: int
    # None: the database does not use it.
    timescaledb: str | None


async def describe(conn: Connection) -> DatabaseServer:
    """Return the versions of the connected server."""
    row = await conn.fetchrow(_DESCRIBE)
    assert row is not None
    return DatabaseServer(row["version"], row["major"], row["timescaledb"])


async def try_disk(conn: Connection) -> None:
    """Write a temporary file to the server's disk. Raises the server's error if that fails."""
    async with conn.transaction():
        await conn.execute(_LITTLE_MEMORY)
        await conn.execute(_SORT_ON_DISK)
