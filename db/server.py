"""What kind of server a database is on."""

from dataclasses import dataclass

from db.pool import Connection

_DESCRIBE = """
SELECT current_setting('server_version') AS version,
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb') AS timescaledb
"""


@dataclass(frozen=True, slots=True)
class Server:
    """`timescaledb`: its version; None where it is not used."""

    version: str
    timescaledb: str | None


async def describe(conn: Connection) -> Server:
    row = await conn.fetchrow(_DESCRIBE)
    assert row is not None
    return Server(row["version"], row["timescaledb"])
