"""What kind of server a database is on, and whether its disk takes anything."""

from dataclasses import dataclass

from db.pool import Connection

_DESCRIBE = """
SELECT current_setting('server_version') AS version,
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescaledb
"""

_LITTLE_MEMORY = "SELECT set_config('work_mem', '64kB', true)"

# Half a megabyte to sort, which 64 kB of memory don't hold: it goes through a temporary file.
_SORT_ON_DISK = """
SELECT max(length(filler)) FROM (
    SELECT repeat('x', 250) AS filler FROM generate_series(1, 2000) AS n ORDER BY n DESC OFFSET 0
) AS sorted
"""


@dataclass(frozen=True, slots=True)
class DatabaseServer:
    """`timescaledb`: its version; None where it is not used."""

    version: str
    timescaledb: str | None


async def describe(conn: Connection) -> DatabaseServer:
    row = await conn.fetchrow(_DESCRIBE)
    assert row is not None
    return DatabaseServer(row["version"], row["timescaledb"])


async def try_disk(conn: Connection) -> None:
    """Write a little to the server's disk, and leave nothing there. Raises what it lacks."""
    async with conn.transaction():
        await conn.execute(_LITTLE_MEMORY)
        await conn.execute(_SORT_ON_DISK)
